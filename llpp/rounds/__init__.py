"""The rounds of an active-learning run."""
