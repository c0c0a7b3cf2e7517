"""A page on which a dataset is looked through."""
