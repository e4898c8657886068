"""Rules that compiled BPF code must keep, checked while it runs alone on an emulated CPU."""
