"""Instructions to cycles: decoding to uops, core descriptions, the core model."""
