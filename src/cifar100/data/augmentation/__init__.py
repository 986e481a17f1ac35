"""Random changes to training images: whole batches on the device, or one image at a time."""
