"""The branches on the features of regions."""
