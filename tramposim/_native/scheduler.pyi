"""Native only: see scheduler.pxd."""
