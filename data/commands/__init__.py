"""The commands of scripts/dataset.py, one in a file: its first line of help, `add_arguments` and `run`.

What several of them share stands in `options`, `conversion` (all `from-...`) and `derivation` (`orders`, `inmodal`).
"""
