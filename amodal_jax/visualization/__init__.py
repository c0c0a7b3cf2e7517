"""Drawings, charts and html pages."""
