"""The processes of a run: start them, connect them, and let them fail together."""
