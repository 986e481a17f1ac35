"""Recipes: YAML files that hold only what differs from the defaults in `config.py`."""
