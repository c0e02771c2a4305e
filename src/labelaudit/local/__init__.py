"""Worker processes on this machine that encode and train, within a memory limit."""
