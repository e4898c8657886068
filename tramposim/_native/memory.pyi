"""Native only: see memory.pxd."""
