"""Checks before anything is written: what cannot work is refused before there is a run folder."""
