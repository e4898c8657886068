"""The x86_64 JIT."""
