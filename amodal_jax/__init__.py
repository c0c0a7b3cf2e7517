"""Amodal instance segmentation in JAX: train, evaluate and run the Amodal Segmentation Network on KINS."""

__version__ = "0.1.0"
