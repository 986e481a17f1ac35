"""This process: the signals that end it, the launcher that has started it, and the parent that it ends with."""
