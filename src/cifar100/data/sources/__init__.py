"""Where images come from: the official archives, or a generator."""
