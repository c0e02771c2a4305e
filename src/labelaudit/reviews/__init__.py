"""Verdicts, random samples, review files, and what they measure."""
