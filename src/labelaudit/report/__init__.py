"""Audit results as tables and as one HTML page."""
