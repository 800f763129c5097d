"""Videos and images with a mask for each frame."""
