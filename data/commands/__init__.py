"""The commands of scripts/dataset.py, one in a file: its first line of help, `add_arguments` and `run`."""
