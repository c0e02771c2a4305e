"""Frozen pretrained modules that turn images or texts into features."""
