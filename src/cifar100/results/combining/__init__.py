"""Combines several runs: an ensemble, the mean of their probabilities, or an average, the mean of their weights."""
