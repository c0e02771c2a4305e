"""What people decide about labels, and what follows from it: in memory, no storage."""
