"""Flax linen modules and their settings, one part of the network per module."""
