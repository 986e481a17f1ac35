"""A page on this machine on which a person tries a trained network, and the same for a Hugging Face Space."""
