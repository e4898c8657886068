"""Native only: see loopbuffer.pxd."""
