"""Experiment trackers: loggers whose server may be far away, slow or dead."""
