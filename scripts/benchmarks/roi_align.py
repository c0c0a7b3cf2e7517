"""ROIAlign alone, from the four levels of an image's pyramid, forward and backward.

Shape shorthand: N regions, C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax.models.necks import LEVEL_STRIDES
from amodal_jax.ops.roi_align import multilevel_roi_align
from scripts.benchmarks.measurement import Report, Work, interleave
from scripts.benchmarks.options import Options


def measure(options: Options) -> Report:
    """Times the box and the mask branches' pooling in a training step of one image."""
    model = options.config.model
    dtype = jnp.dtype(model.compute_dtype)
    rng = np.random.default_rng(0)
    levels = tuple(
        jnp.asarray(rng.standard_normal((options.height // stride, options.width // stride, model.fpn_channels)), dtype)
        for stride in LEVEL_STRIDES[:4]
    )
    functions: dict[str, Work] = {}
    regions = {
        model.roi.box_size: model.roi.batch_size,
        model.roi.mask_size: int(model.roi.batch_size * model.roi.positive_fraction),
    }
    for cells, count in regions.items():
        boxes = jnp.asarray(random_boxes(rng, count, options.height, options.width))

        def pool(levels, boxes, cells=cells):
            return multilevel_roi_align(
                levels,
                boxes,
                cells,
                strides=LEVEL_STRIDES[:4],
                sampling_ratio=model.roi.sampling_ratio,
                aligned=model.roi.aligned,
            )

        def gradient(levels, boxes, cotangent, pool=pool):
            return jax.vjp(lambda levels: pool(levels, boxes), levels)[1](cotangent)

        forward, backward = jax.jit(pool), jax.jit(gradient)
        cotangent = forward(levels, boxes)
        name = f"{count} regions of {cells} x {cells} x {model.fpn_channels}"
        functions[f"{name}, forward"] = lambda f=forward, boxes=boxes: wait(f(levels, boxes))
        # The gradient of a linear operation needs nothing of the forward pass, which XLA leaves out.
        functions[f"{name}, backward"] = lambda f=backward, boxes=boxes, c=cotangent: wait(f(levels, boxes, c))
    return Report(interleave(functions, options.repeats))


def random_boxes(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Boxes [N, 4] within an image, of all sizes alike on a logarithmic scale from 8 pixels to the image's height."""
    sides = np.exp(rng.uniform(np.log(8), np.log(height), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - sides).clip(0)
    return np.concatenate([corner, corner + sides], axis=1).clip(0, [width, height] * 2).astype(np.float32)


def wait(result) -> None:
    """Until the device is done."""
    jax.block_until_ready(result)
