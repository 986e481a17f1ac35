"""Saving, resuming, signals and divergence."""
