"""A prepared data folder: its files, its labels, its splits."""
