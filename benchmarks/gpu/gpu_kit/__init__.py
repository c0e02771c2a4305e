"""What runs on a GPU: six measurements, each in a process of its own (`benchmarks/gpu/README.md`)."""
