"""What runs on a GPU: six measurements, each in its own process (`benchmarks/gpu/README.md`)."""
