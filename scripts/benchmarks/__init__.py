"""Measurements of speed and memory, each a module with `measure(options) -> Report`, for `scripts/benchmark.py`."""
