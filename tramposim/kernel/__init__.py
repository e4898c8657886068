"""What the kernel decides: attach rules, versions, flags, frame layout, images."""
