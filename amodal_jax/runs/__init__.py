"""Run directories: what a training writes and others read."""
