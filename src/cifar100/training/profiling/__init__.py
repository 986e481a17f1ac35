"""Where the time of a training step goes, and how much of the machine it uses: `training.profile`."""
