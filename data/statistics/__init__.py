"""What is in a dataset, in figures."""
