"""What a run leaves on disk: its folder, status, metrics and checkpoints. Does not import Lightning."""
