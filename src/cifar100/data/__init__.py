"""From the official archive to batches of images on the device."""
