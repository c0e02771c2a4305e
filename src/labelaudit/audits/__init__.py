"""What is in storage about audits: records, history, site, comparison."""
