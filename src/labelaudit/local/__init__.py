"""Folds in worker processes on this machine, within its memory."""
