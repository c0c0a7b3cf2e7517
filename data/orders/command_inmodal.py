"""Computes inmodal masks from amodal masks and occlusion orders, as KINS does (section 3.2 of its paper).

What nearer instances of a cluster cover is hidden. Where orders break KINS' rules (two of equal order overlap), that is
printed, and in full with --json. Example: python scripts/dataset.py inmodal drawn.json --out update_train_2020.json
"""

import argparse

from data.orders import derivation
from data.orders.derive import derive_inmodal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    derivation.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Computes the inmodal masks of a file and prints where its orders break the rules."""
    derivation.run(arguments, derive_inmodal, "no order breaks the rules")
