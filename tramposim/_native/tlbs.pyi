"""Native only: see tlbs.pxd."""
