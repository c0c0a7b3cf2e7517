"""The program that XLA makes for an H100, on a machine without one: compiled, read, and its kernels' least times."""
