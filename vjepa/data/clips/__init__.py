"""Clips for training and evaluation: sampling, augmentation, batches."""
