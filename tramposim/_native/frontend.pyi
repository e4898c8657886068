"""Native only: see frontend.pxd."""
