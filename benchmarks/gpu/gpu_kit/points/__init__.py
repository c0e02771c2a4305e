"""The points: each module has `measure(job)`, which records figures as it goes."""
