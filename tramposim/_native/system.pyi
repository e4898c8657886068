"""Native only: see system.pxd."""
