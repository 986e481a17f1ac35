"""The commands, one module for each group: their options and their output."""
