"""Native only: see predictors.pxd."""
