"""The learning-rate range test: the test itself, the suggestions that it leads to, and its plot."""
