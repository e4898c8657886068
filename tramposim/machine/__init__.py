"""The emulated machine: address map, guest runtime, engine, trace."""
