"""Plots and pictures, as functions of plain values; who draws which is decided by the callers."""
