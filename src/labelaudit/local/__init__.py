"""Worker processes that train folds on this machine, within a memory limit."""
