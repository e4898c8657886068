"""From programs and trampoline requests to machine code, one folder per architecture."""
