"""Versions of a dataset: found, judged complete, uploaded."""
