"""What may be wrong with a data set: duplicates, label errors, odd images, classes of different sizes."""
