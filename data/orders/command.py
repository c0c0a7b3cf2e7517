"""Computes clusters and occlusion orders from amodal and inmodal masks, for KINS json of either release.

Brings files of 2019, which have no orders, to the form of 2020. Of two instances that overlap, the one in which more of
the overlap is visible is nearer; where the masks do not say, that is printed, and in full with --json.
Example: python scripts/dataset.py orders KINS/instances_train.json --out KINS/update_train_2020.json
"""

import argparse

from data.orders import derivation
from data.orders.derive import derive_orders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    derivation.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Computes the orders of a file and prints what they left open."""
    derivation.run(arguments, derive_orders, "nothing left open: every overlap says which of two is nearer")
