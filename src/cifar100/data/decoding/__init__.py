"""Decode image files from anywhere: known formats, bounded memory, one rule for the range of integers."""
