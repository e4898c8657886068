"""The arm64 JIT."""
