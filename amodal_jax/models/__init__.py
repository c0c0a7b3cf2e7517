"""Flax linen modules, one part of the network per module."""
