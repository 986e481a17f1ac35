"""What a run writes to the terminal, to its log and to its loggers."""
