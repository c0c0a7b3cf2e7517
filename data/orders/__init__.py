"""Occlusion orders and visible parts, each computed from the other."""
