"""Out-of-fold probabilities proved and searched for label issues."""
