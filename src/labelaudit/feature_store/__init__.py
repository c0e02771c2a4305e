"""Features of encoders, stored next to the audits by encoder and content digest."""
