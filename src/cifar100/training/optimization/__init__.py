"""Optimizers, schedules and what changes the loss or the weights."""
