"""Non-maximum suppression alone, of an image's proposals level by level and of its detections class by class."""

import jax
import jax.numpy as jnp
import numpy as np

from amodal_jax.ops.nms import nms
from scripts.benchmarks.measurement import Report, Work, interleave
from scripts.benchmarks.options import Options
from scripts.benchmarks.roi_align import random_boxes, wait

LEVELS = 5
OBJECTS = 40  # that the boxes crowd about


def measure(options: Options) -> Report:
    """Times both with as many boxes as training and inference have."""
    model, evaluation = options.config.model, options.config.evaluation
    rng = np.random.default_rng(0)
    functions: dict[str, Work] = {}
    kept = {}
    for name, groups, count, threshold in (
        ("proposals in training", LEVELS, model.rpn.pre_nms_train, model.rpn.nms_threshold),
        ("proposals in inference", LEVELS, model.rpn.pre_nms_test, model.rpn.nms_threshold),
        ("detections", len(model.class_names), model.rpn.post_nms_test, evaluation.nms_threshold),
    ):
        boxes = np.stack([_crowds(rng, count, options.height, options.width) for _ in range(groups)])
        arguments = (
            jnp.asarray(boxes),
            jnp.asarray(rng.random((groups, count), np.float32)),
            jnp.ones((groups, count), bool),
        )
        function = jax.jit(jax.vmap(lambda b, s, v, threshold=threshold: nms(b, s, v, threshold)))
        name = f"{name}, {groups} x {count} boxes"
        kept[f"{name}: kept"] = int(function(*arguments).sum())
        functions[name] = lambda f=function, a=arguments: wait(f(*a))
    return Report(interleave(functions, options.repeats), kept)


def _crowds(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Boxes [count, 4] that jitter about a few objects, as proposals do."""
    centres = random_boxes(rng, OBJECTS, height, width)[rng.integers(0, OBJECTS, count)]
    sides = centres[:, 2:] - centres[:, :2]
    return (centres + 0.2 * np.tile(sides, 2) * rng.standard_normal((count, 4))).astype(np.float32)
