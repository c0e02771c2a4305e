"""Automatic audits of label quality."""
