"""Native only: see lsu.pxd."""
