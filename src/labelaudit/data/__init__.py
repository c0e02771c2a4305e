"""Datasets in memory: reading, labels, statuses, folds. Knows no storage."""
