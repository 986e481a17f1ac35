"""Export a trained network to one file that needs nothing of this program."""
