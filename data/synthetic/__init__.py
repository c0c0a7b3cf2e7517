"""Synthetic street scenes with exact amodal masks, written in KINS' form: a source of data that needs no download."""
