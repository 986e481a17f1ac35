"""What `prepare` does, in parts: where data come from, what may be replaced, and what is written."""
