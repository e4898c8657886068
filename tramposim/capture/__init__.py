"""Images and programs from elsewhere: kernel captures, JIT dumps."""
