"""Verdicts on rows, random samples, review files, and what they measure."""
