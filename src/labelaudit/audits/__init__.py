"""Audits in storage: plans, published files, records, history, comparison and the dataset's page."""
