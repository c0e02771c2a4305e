"""Units of work: each loads by reference, calls the rooms, stores, and returns a reference."""
