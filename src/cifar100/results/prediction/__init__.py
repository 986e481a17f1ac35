"""Predictions for images from anywhere: what to read, the stream of results, CSV and JSON."""
