"""What a run costs, measured before it is taken: memory, time and disk."""
