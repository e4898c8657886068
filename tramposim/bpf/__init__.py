"""eBPF itself: instructions, text, interpreter, objects, what the verifier rewrites."""
