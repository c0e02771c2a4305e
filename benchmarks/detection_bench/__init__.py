"""The parts of `benchmarks/detection.py`: cells with known wrong labels, their figures, and tables of figures."""
