"""Core descriptions, one TOML file per core."""
