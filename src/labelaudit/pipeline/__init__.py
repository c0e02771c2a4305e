"""The steps of an audit: plan, train, gather, detect, publish."""
