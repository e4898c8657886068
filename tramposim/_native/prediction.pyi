"""Native only: see prediction.pxd."""
