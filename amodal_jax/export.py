"""A network as files that run without this package: StableHLO by `jax.export`, and its parameters beside it.

Shape shorthand: B images, H x W canvas of native pixels.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from amodal_jax import export_runner
from amodal_jax.canvas import input_canvas
from amodal_jax.config import Config
from amodal_jax.errors import ConfigError
from amodal_jax.files import image_framing
from amodal_jax.files.atomic import naming, replacing
from amodal_jax.network import Variables, build_network
from amodal_jax.runs import parameters_file
from amodal_jax.runs.directory import write_config
from amodal_jax.structures import Array

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # that JAX itself lowers to


def export_network(
    config: Config,
    variables: Variables,
    step: int,
    out: Path,
    *,
    platforms: Sequence[str] = ("cpu", "cuda"),
    batch_size: int = 1,
    canvas: tuple[int, int] | None = None,
) -> Config:
    """Writes a folder with everything that finding objects takes.

    - `parameters.safetensors` and `config.json`: what `checkpoint.load_checkpoint` reads, so that the folder stands in
      for a run wherever one is loaded;
    - `detect.jax_export`: the serialised `jax.export.Exported` of `detect(parameters, images, sizes)`, with
      `parameters` by path as they are in the file, `images` uint8 RGB [B, H, W, 3] in the top left of the canvas, and
      `sizes` int32 [B, 2] their true (height, width). It gives a dictionary of the fields of `structures.Detections`
      that the network has;
    - `export.json`: what it was exported for;
    - `run.py` and `image_framing.py`, which need nothing of this package (`export_runner`).

    The folder is either whole or not there.

    Args:
      config: the network's; its thresholds are part of what is exported.
      variables: its parameters.
      step: of the training that they are of.
      out: the folder, which must not be there or be empty.
      platforms: that the network is to run on, of `PLATFORMS`. None of them has to be here.
      batch_size: B.
      canvas: (H, W), the largest image; None: the configuration's, which its dataset's images all fit. The input canvas
        is the configuration's if such an image fits it once it is resized, else the one that `Predictor` takes for it.

    Returns:
      The configuration with the canvas that was exported.

    Raises:
      ConfigError: an unknown platform, a batch size or canvas that is not positive, or a folder that is there.
      OSError: the disk is full or the folder cannot be written; names it. Nothing is left of it.
    """
    _check(out, platforms, batch_size, canvas)
    if canvas is not None:
        config = _on_canvas(config, canvas)
    exported = _export(config, variables, tuple(platforms), batch_size)
    sheet = {
        "class_names": config.model.class_names,
        "mask_threshold": config.evaluation.mask_threshold,
        "mask_paste": config.evaluation.mask_paste,
        "batch_size": batch_size,
        "height": config.data.canvas_height,
        "width": config.data.canvas_width,
        "short_side": config.model.input.short_side,
        "long_side": config.model.input.long_side,
        "input_height": config.model.input.height,
        "input_width": config.model.input.width,
        "platforms": exported.platforms,
        "jax_version": jax.__version__,
    }
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with naming(out), replacing(out) as unfinished:
        write_config(unfinished, config)
        parameters_file.write_parameters(unfinished / parameters_file.FILE_NAME, variables, step)
        (unfinished / export_runner.NETWORK_FILE).write_bytes(exported.serialize())
        (unfinished / export_runner.SHEET_FILE).write_text(json.dumps(sheet, indent=2) + "\n")
        (unfinished / "run.py").write_bytes(Path(export_runner.__file__).read_bytes())
        (unfinished / "image_framing.py").write_bytes(Path(image_framing.__file__).read_bytes())
    return config


def _check(out: Path, platforms: Sequence[str], batch_size: int, canvas: tuple[int, int] | None) -> None:
    for name in platforms:
        if name not in PLATFORMS:
            raise ConfigError(f'there is no platform "{name}"; known are {", ".join(PLATFORMS)}')
    if not platforms or len(set(platforms)) < len(platforms):
        raise ConfigError(f'the platforms "{",".join(platforms)}" have to be at least one, and none of them twice')
    if batch_size < 1:
        raise ConfigError(f"the batch size must be positive, not {batch_size}")
    if canvas is not None and min(canvas) < 1:
        raise ConfigError(f"height and width must be positive, not {canvas[0]} and {canvas[1]}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out}: is there already; name another folder, or remove it")


def _on_canvas(config: Config, canvas: tuple[int, int]) -> Config:
    """The configuration for images of up to `canvas`; the same one if that is its own."""
    if canvas == (config.data.canvas_height, config.data.canvas_width):
        return config
    height, width = input_canvas(canvas, config.model.input)
    model_input = dataclasses.replace(config.model.input, height=height, width=width)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, input=model_input),
        data=dataclasses.replace(config.data, canvas_height=canvas[0], canvas_width=canvas[1]),
    )


def _export(config: Config, variables: Variables, platforms: tuple[str, ...], batch_size: int) -> jax_export.Exported:
    detector = build_network(config)

    def detect(parameters: dict[str, Array], images: Array, sizes: Array) -> dict[str, Array]:
        found: Any = detector.apply(parameters_file.from_paths(parameters), images, sizes, method="detect")
        fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        return {name: value for name, value in fields.items() if value is not None}

    parameters = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), parameters_file.by_path(variables)
    )
    images = jax.ShapeDtypeStruct((batch_size, config.data.canvas_height, config.data.canvas_width, 3), np.uint8)
    sizes = jax.ShapeDtypeStruct((batch_size, 2), np.int32)
    with _without_folders():
        return jax_export.export(jax.jit(detect), platforms=platforms)(parameters, images, sizes)


@contextlib.contextmanager
def _without_folders() -> Iterator[None]:
    """Has JAX note where in the source each operation comes from by the names of files, not by this machine's paths."""
    option = "jax_hlo_source_file_canonicalization_regex"
    usual = getattr(jax.config, option)
    jax.config.update(option, ".*/")
    try:
        yield
    finally:
        jax.config.update(option, usual)
