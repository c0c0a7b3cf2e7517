"""Odd masks for every reader of masks, to be run in a process of its own, which pycocotools may end.

    python -m tests.helpers.odd_masks SEED SECONDS FILE

Every case is written to FILE before it is tried, so that the last one is there when the process has ended.
"""

import contextlib
import copy
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from amodal_jax.errors import AmodalJaxError
from amodal_jax.evaluation.annotated import AnnotatedImages, AnnotatedInstance
from amodal_jax.evaluation.metrics import evaluate_results
from amodal_jax.evaluation.results_files import read_results
from amodal_jax.masks import segmentation
from tests.data.kins.test_damaged_json import COMMANDS, HEIGHT, WIDTH, check_mask, places, results_content, rle

MASK_KEYS = {"a_segm", "i_segm", "segmentation", "inmodal_seg", "visible_mask", "invisible_mask", "points"}


def compressed(runs: list[int]) -> str:
    """COCO's compressed counts of any runs, those that no mask has too."""
    text = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + (32 if more else 0))
            if not more:
                break
    return text


def odd_runs(rng: random.Random, pixels: int) -> list[int]:
    """Runs that fill an image, with runs of no pixel anywhere, more of them than there are pixels at times."""
    cuts = sorted(rng.randint(0, pixels) for _ in range(rng.choice([0, 1, 2, 5, 30])))
    runs = [end - start for start, end in zip([0, *cuts], [*cuts, pixels], strict=True)]
    for _ in range(rng.choice([0, 1, 3])):
        place, count = rng.randint(0, len(runs)), rng.choice([1, 2, 3, 50, 2 * pixels if pixels < 5000 else 500])
        runs[place:place] = [0] * count
    return runs


def odd_code(rng: random.Random, height: int, width: int) -> dict[str, Any]:
    """A run-length code, right in half of the cases but for its empty runs."""
    runs: list[Any] = odd_runs(rng, height * width)
    size: Any = [height, width]
    kind = rng.randrange(12)
    if kind == 0:
        runs[rng.randrange(len(runs))] = rng.choice([-1, 2**31, 2**32, 2**62, 2**64, 0.5, "1", None, True, [1], 1e300])
    elif kind == 1:
        runs = [float(run) for run in runs]
    elif kind == 2:
        size = rng.choice([[width, height], [float(height), width], [str(height), width], [], None, [0, 0], [2**31, 1]])
    elif kind == 3:
        runs[0] -= 1
    elif kind == 4:
        runs = runs[: rng.randrange(len(runs) + 1)]
    counts: Any = runs
    if kind > 4 and rng.random() < 0.6:
        counts = compressed(runs)
        for _ in range(rng.choice([0, 0, 0, 1, 3])):
            place = rng.randrange(len(counts) + 1)
            counts = counts[:place] + rng.choice(["", "o", "O", "0", "`", "P", "é", "\x00", "~"]) + counts[place + 1 :]
    return {"size": size, "counts": counts}


def odd_polygons(rng: random.Random, height: int, width: int) -> list[Any]:
    """Polygons of few or many points, within the image, on its border, or anywhere else."""
    reach = rng.choice([1, 2, 5000])
    values = [
        lambda: rng.uniform(-reach, reach + max(height, width)),
        lambda: float(rng.choice([0, -0.5, 0.5, width, height, width - 1, height - 0.5])),
        lambda: rng.randint(-reach, reach + width),
        lambda: rng.choice([1e-300, -1e5, 1e5, 1e308, float("nan"), float("inf"), 2**63, 10**400]),
    ]
    draw = rng.choices(values, weights=[5, 5, 5, 0.5])[0]
    count = rng.choice([0, 1, 2, 3, 3, 4, 5, 40, 400])
    polygons = []
    for _ in range(rng.choice([0, 1, 1, 2, 6])):
        points = [[draw(), draw()] for _ in range(count)]
        if rng.random() < 0.3 and points:
            points = [rng.choice(points[: rng.randint(1, 3)]) for _ in points]
        polygons.append([value for point in points for value in point])
    return polygons


def odd_mask(rng: random.Random, height: int, width: int) -> Any:
    draw = odd_code if rng.random() < 0.7 else odd_polygons
    return draw(rng, height, width)


def operations(rng: random.Random, record: Callable[[Any], Any]) -> None:
    """Masks of a small image: whatever is read of them works, and has the pixels that its runs say."""
    height, width = rng.choice([(1, 1), (1, 7), (5, 1), (3, 3), (rng.randint(1, 20), rng.randint(1, 20))])
    masks = [odd_mask(rng, height, width) for _ in range(rng.randint(1, 4))]
    record([height, width, masks])
    read = []
    for mask in masks:
        parsed = segmentation.parse(mask, height, width)
        if parsed.rle is None:
            continue
        read.append(parsed.rle)
        check_mask(parsed.rle, height, width)
        assert segmentation.run_lengths(parsed.rle["counts"])[1:].all()
        drawn = segmentation.decode(parsed.rle)
        if isinstance(mask, dict) and isinstance(mask["counts"], list):
            runs = np.array(mask["counts"]).astype(int)
            expected = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
            np.testing.assert_array_equal(drawn, expected)
        assert segmentation.area(parsed.rle) == drawn.sum()
        x1, y1, x2, y2 = map(int, segmentation.bounding_box(parsed.rle))
        assert drawn[y1:y2, x1:x2].sum() == drawn.sum()
        assert 0 <= x1 <= x2 <= width
        assert 0 <= y1 <= y2 <= height
    if read:
        pixels = [segmentation.decode(mask) for mask in read]
        for joined, expected in (
            (segmentation.union(read), np.any(pixels, axis=0)),
            (segmentation.intersection(read), np.all(pixels, axis=0)),
            (segmentation.majority(read), np.mean(pixels, axis=0) > 0.5),
            (segmentation.difference(read[0], read[-1]), pixels[0] & ~pixels[-1]),
        ):
            np.testing.assert_array_equal(segmentation.decode(joined), expected)


def scores(rng: random.Random, record: Callable[[Any], Any]) -> None:
    """Detections whose masks can be read are scored."""
    content = results_content()
    for entry in content:
        entry["segmentation"] = odd_mask(rng, HEIGHT, WIDTH)
        if rng.random() < 0.5:
            del entry["bbox"]
    content = [entry for entry in content if ("bbox" in entry) == ("bbox" in content[0])]
    record(content)
    car = rle(5, 5, 20, 20)
    truth = AnnotatedImages(
        {5: (HEIGHT, WIDTH), 6: (HEIGHT, WIDTH)},
        {4: "car"},
        [AnnotatedInstance(5, 4, (5, 5, 15, 15), car, car, 0.0, is_crowd=rng.random() < 0.2)],
        {5: "a.png", 6: "b.png"},
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AmodalJaxError):
        path = Path(folder) / "results.json"
        path.write_text(json.dumps(content))
        evaluate_results(truth, read_results({"amodal": path, "inmodal": path}, truth, progress=False))


def files(rng: random.Random, record: Callable[[Any], Any]) -> None:
    """A file of any format with some of its masks odd goes through all of its commands."""
    command = rng.choice([name for name in COMMANDS if name != "results"])

    def damage(content: Any) -> bytes:
        content = copy.deepcopy(content)
        found = [place for place in places(content) if place[-1] in MASK_KEYS]
        for *way, last in rng.sample(found, min(len(found), rng.randint(1, 3))):
            holder = content
            for key in way:
                holder = holder[key]
            holder[last] = odd_mask(rng, HEIGHT, WIDTH)
            if last == "points":
                flat = [value for polygon in odd_polygons(rng, HEIGHT, WIDTH) for value in polygon]
                holder[last] = [list(point) for point in zip(flat[::2], flat[1::2], strict=True)]
        record([command, content])
        return json.dumps(content).encode()

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AmodalJaxError):
        COMMANDS[command](Path(folder), damage)


def main(seed: int, seconds: float, case_file: Path) -> None:
    """Tries cases until the time is over, and prints how many."""
    logging.disable()
    rng = random.Random(seed)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        kind = rng.choices([operations, scores, files], weights=[20, 3, 2])[0]
        kind(rng, lambda case, kind=kind: case_file.write_text(json.dumps([kind.__name__, case])))
        count += 1
    print(count)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
