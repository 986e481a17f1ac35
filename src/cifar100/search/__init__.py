"""Several trainings for one question."""
