"""When calls happen: CPUs, arrivals and batches on SimPy."""
