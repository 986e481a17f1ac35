"""Optional parts of an evaluation: without near-duplicates, with corrected labels, on corrupted images."""
