"""The KINS dataset: reader of both annotation releases and the TFDS builder."""
