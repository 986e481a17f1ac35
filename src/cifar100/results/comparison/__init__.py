"""Which of several trained networks is better, and whether the difference is more than chance."""
