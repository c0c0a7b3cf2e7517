"""Weights of other programs and other networks: read, converted, and given to a network to start from."""
