"""The paper's Figure 5 of a run: what its checkpoints predict of chosen images, and how much of it is hidden."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from amodal_jax.cli.progress import progress_bar
from amodal_jax.errors import ConfigError, DataError
from amodal_jax.files.atomic import make_folder, write_atomically
from amodal_jax.files.image_reader import read_image
from amodal_jax.iterations.following import Measured, follow, hidden_share, measure, relative_area
from amodal_jax.predict import Predictor
from amodal_jax.runs.directory import checkpoint_steps, checkpoints_folder
from amodal_jax.structures import Instances
from amodal_jax.visualization.charts import line_chart_image
from amodal_jax.visualization.overlay import draw_instances
from amodal_jax.visualization.strip import strip


@dataclasses.dataclass
class _Picture:
    """An image, what is followed in it, and what became of that at each step."""

    image: np.ndarray
    objects: Instances  # those of the last checkpoint that score enough
    measured: dict[int, list[Measured | None]]
    panels: dict[int, np.ndarray]


def write_figure(
    run_dir: Path, images: Sequence[Path], out: Path, *, panels: int = 6, score_threshold: float = 0.5
) -> list[int]:
    """Predicts images with every checkpoint that a run has kept, and writes what changes.

    The objects that the last checkpoint finds are followed back through the others (`following.follow`).

    Args:
      run_dir: as training writes it, with `train.keep_checkpoints` large enough to have kept several.
      images: image files.
      out: the folder to write: for each image `NAME.png`, the predictions of evenly spaced checkpoints; of all of them
        `hidden_area.svg`, the hidden area of the objects that are followed as a share of their amodal area by step
        (where the network has both masks), `amodal_area.svg`, their amodal area in relation to that at the last step,
        and `areas.json`, the areas of every object.
      panels: checkpoints in the picture.
      score_threshold: objects that score lower are not drawn, and at the last step not followed.

    Returns:
      The steps of the checkpoints.

    Raises:
      ConfigError: there are fewer than two checkpoints, or the network has no amodal masks.
      CheckpointError: a checkpoint cannot be read.
      DataError: an image cannot be read, or two have one name.
    """
    folder = checkpoints_folder(run_dir, "last")
    steps = checkpoint_steps(folder)
    if len(steps) < 2:
        raise ConfigError(
            f"{run_dir}: has {len(steps)} checkpoints, and this compares several; train with a larger "
            "--train.keep-checkpoints, which says how many are kept, every --train.checkpoint-every steps"
        )
    names = [path.stem for path in images]
    if len(set(names)) < len(names):
        raise DataError(f"two images are called {max(names, key=names.count)}: name each once")
    pixels = [read_image(path) for path in images]
    make_folder(out)
    shown = {steps[place] for place in np.linspace(0, len(steps) - 1, min(panels, len(steps))).round().astype(int)}
    pictures: list[_Picture] = []
    for step in progress_bar(steps, description="checkpoints", unit="checkpoint"):
        predictor = Predictor.from_checkpoint(folder / str(step))
        if "amodal" not in predictor.mask_kinds:
            raise ConfigError(f"{run_dir}: its network predicts no amodal masks, so that no area can be followed")
        for number, image in enumerate(pixels):
            found = predictor(image)
            if step == steps[0]:
                pictures.append(_Picture(image, _scoring(found, score_threshold), {}, {}))
            picture = pictures[number]
            picture.measured[step] = [
                None if place is None else measure(found, place) for place in follow(picture.objects, found)
            ]
            if step in shown:
                picture.panels[step] = draw_instances(image, found, score_threshold=score_threshold)
    _write(out, dict(zip(names, pictures, strict=True)), steps[::-1])
    return steps[::-1]


def _scoring(found: Instances, threshold: float) -> Instances:
    """The objects that score enough, without their masks."""
    kept = found.scores >= threshold
    return dataclasses.replace(
        found,
        boxes=found.boxes[kept],
        scores=found.scores[kept],
        labels=found.labels[kept],
        occluded=None,
        amodal_masks=None,
        inmodal_masks=None,
    )


def _write(out: Path, pictures: dict[str, _Picture], steps: list[int]) -> None:
    for name, picture in pictures.items():
        drawn = sorted(picture.panels)
        joined = strip([picture.panels[step] for step in drawn], [f"step {step:,}" for step in drawn])
        _, png = cv2.imencode(".png", cv2.cvtColor(joined, cv2.COLOR_RGB2BGR))
        write_atomically(out / f"{name}.png", png.tobytes())
    hidden = {
        name: {step: 100 * hidden_share(picture.measured[step]) for step in steps} for name, picture in pictures.items()
    }
    areas = {
        name: {step: 100 * relative_area(picture.measured[step], picture.measured[steps[-1]]) for step in steps}
        for name, picture in pictures.items()
    }
    charts = {
        "hidden_area.svg": ("Hidden area, % of the amodal area, by training step", hidden),
        "amodal_area.svg": (f"Amodal area, % of that at step {steps[-1]:,}, by training step", areas),
    }
    for name, (title, lines) in charts.items():
        # An image in which nothing is followed has no curve.
        drawable = {image: series for image, series in lines.items() if np.isfinite(list(series.values())).any()}
        if drawable:
            write_atomically(out / name, line_chart_image(title, drawable))
        else:
            (out / name).unlink(missing_ok=True)  # one of before would be of other predictions
    content = {name: _to_json(picture, steps) for name, picture in pictures.items()}
    write_atomically(out / "areas.json", json.dumps(content, indent=2) + "\n")


def _to_json(picture: _Picture, steps: list[int]) -> list[dict]:
    """Each object that is followed, with its score and areas in pixels by step; null where it is not found."""
    objects = picture.objects
    return [
        {
            "category_name": objects.class_names[label],
            "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
            "steps": {
                str(step): one if one is None else dataclasses.asdict(one)
                for step in steps
                for one in [picture.measured[step][number]]
            },
        }
        for number, (label, (x1, y1, x2, y2)) in enumerate(zip(objects.labels, objects.boxes.tolist(), strict=True))
    ]
