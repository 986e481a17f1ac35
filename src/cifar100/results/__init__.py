"""What is done with a trained network: evaluate it, predict with it."""
