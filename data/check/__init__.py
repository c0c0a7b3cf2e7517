"""What is wrong with a dataset, and its repair."""
