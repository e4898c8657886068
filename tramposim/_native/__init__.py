"""Native modules: they know bytes, addresses and micro-operations, not BPF."""
