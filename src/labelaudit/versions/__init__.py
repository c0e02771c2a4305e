"""Versions of a dataset: finding them, checking that they are complete, uploading new ones."""
