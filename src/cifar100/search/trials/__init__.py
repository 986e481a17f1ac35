"""One training, repeated: with several seeds, or on each fold."""
