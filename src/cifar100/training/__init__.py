"""One training run under Lightning, from the settings to the best checkpoint."""
