"""Copies and near-copies of rows: codes of their contents, pairs that are too close to be chance, and clusters."""
