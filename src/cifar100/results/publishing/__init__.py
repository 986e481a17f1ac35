"""Give a trained network to others, as a folder or on the Hugging Face Hub, and use what others have published."""
