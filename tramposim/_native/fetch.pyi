"""Native only: see fetch.pxd."""
