"""KITTI's scene-flow errors (D1, D2, Fl, SF) of given disparity and flow maps: the paper's Table 8.

python scripts/scene_flow.py RESULTS --truth KITTI/scene_flow/training [--non-occluded] [--json FILE]

RESULTS has disp_0, disp_1 and flow as they are handed in to KITTI, or some of them, for the images to be measured; the
ground truth has disp_occ_0, disp_occ_1, flow_occ and obj_map. A value is wrong when it is more than 3 pixels and 5 %
off. scripts/predict.py --instance-maps writes what a scene-flow method with instances reads.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amodal_jax.cli import command_line
from amodal_jax.cli.progress import progress_bar


def main() -> None:
    """Reads the command line, counts and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS", help="the folder of disp_0, disp_1 and flow")
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="KITTI's scene-flow training folder")
    parser.add_argument(
        "--non-occluded", action="store_true", help="only pixels that all images show (disp_noc_0 and so on)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the counts")
    arguments = parser.parse_args()
    with command_line.importing():
        from amodal_jax.files.atomic import make_folder, write_atomically
        from amodal_jax.scene_flow.errors import format_errors, scene_flow_errors

    counts, images = scene_flow_errors(
        arguments.results,
        arguments.truth,
        occluded=not arguments.non_occluded,
        count_images=lambda names: progress_bar(names, description="scene flow", unit="image"),
    )
    print(format_errors(counts, images))
    if arguments.json:
        content = {error: vars(count) for error, count in counts.items()} | {"images": images}
        make_folder(arguments.json.parent)
        write_atomically(arguments.json, json.dumps(content, indent=2) + "\n")
        print(f"written to {arguments.json}")


if __name__ == "__main__":
    command_line.run(main)
