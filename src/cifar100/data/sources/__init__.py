"""Sources of images: the official archives, and a generator."""
