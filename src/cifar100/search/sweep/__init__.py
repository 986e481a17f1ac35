"""A search for better settings: many short runs, whose validation accuracies decide what is tried next (Optuna)."""
