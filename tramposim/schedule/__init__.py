"""CPUs, tasks, arrivals and interrupts in simulated time; calls run in native batches."""
