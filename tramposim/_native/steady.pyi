"""Native only: see steady.pxd."""
