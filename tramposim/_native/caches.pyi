"""Native only: see caches.pxd."""
