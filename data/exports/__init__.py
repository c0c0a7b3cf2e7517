"""Datasets in other programs' formats."""
