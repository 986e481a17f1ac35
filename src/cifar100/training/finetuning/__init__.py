"""Training that starts from trained weights: where they come from, what is frozen, what learns how fast."""
