"""Makes KINS json of pseudo labels from KITTI's 3D boxes, ready for scripts/build_dataset.py.

KITTI holds training/label_2, training/calib and training/image_2, or these three themselves. Each 3D box gets the shape
of its class, projected into the image; nobody has corrected the masks.

Example: python scripts/dataset.py from-kitti3d ../kitti --out ../kitti-pseudo
"""

import argparse
from pathlib import Path

import numpy as np

from data.commands import conversion
from data.kitti3d.convert import Summary, convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("kitti", type=Path, metavar="KITTI", help="the folder of KITTI's object detection benchmark")
    conversion.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Converts a folder and prints how well the pseudo labels agree with KITTI's own 2D boxes."""
    summary = convert(arguments.kitti, arguments.out, **conversion.of_all(arguments))
    conversion.print_counts(summary, "pseudo labels")
    if summary.outside:
        print(f"{summary.outside} objects lie outside their image and were left out")
    print("\n".join(_agreement(summary)))
    print(f"pseudo labels, which nobody has corrected, written to {arguments.out}")


def _agreement(summary: Summary) -> list[str]:
    lines = [
        "IoU of the boxes around the inmodal masks with KITTI's own 2D boxes, by KITTI's occlusion level:",
        f"{'type':<15}{'level':>6}{'objects':>9}{'mean IoU':>10}{'lowest':>8}",
    ]
    rows = [(name, str(level), ious) for (name, level), ious in sorted(summary.box_ious.items())]
    cars = [iou for (name, level), ious in summary.box_ious.items() if name == "Car" and level <= 1 for iou in ious]
    if cars:
        rows.append(("Car", "0, 1", cars))
    rows.append(("all", "all", [iou for ious in summary.box_ious.values() for iou in ious]))
    return lines + [
        f"{name:<15}{level:>6}{len(ious):>9}{np.mean(ious):>10.3f}{min(ious):>8.3f}" for name, level, ious in rows
    ]
