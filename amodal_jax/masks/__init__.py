"""Masks on the host: run lengths, crops for training, predictions on the image."""
