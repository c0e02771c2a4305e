"""Datasets in memory: reading, labels, statuses and folds. Does not access storage."""
