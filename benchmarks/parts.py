"""Inference and the training step part by part, each compiled and timed by itself on what the part before it gave.

What XLA gains by compiling parts together, and the copies between them, are missing from the sum; the whole is timed by
`inference` and `training_step`. A part of training is its forward and its backward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from amodal_jax import losses
from amodal_jax.build import Variables, build_detector
from amodal_jax.config import Config
from amodal_jax.models.detector import Detector
from amodal_jax.optimizer import make_optimizer
from amodal_jax.structures import Batch
from benchmarks.example import make_batch
from benchmarks.measurement import Report, interleave
from benchmarks.network import draw_examples, random_variables
from benchmarks.options import Options

DETAIL = "  of it "  # begins the name of a part of the part before


def measure(options: Options) -> Report:
    """Times the parts on one device."""
    config = options.sized()
    detector = build_detector(config)
    variables = random_variables(config)
    batch = jax.tree.map(jnp.asarray, make_batch(draw_examples(options), config))
    report = Report()
    for phase, parts in (
        ("inference", _inference_parts(detector, variables, batch)),
        ("training", _training_parts(detector, config, variables, batch)),
    ):
        measurements = interleave(parts, options.repeats, count=options.batch_size, unit="image")
        whole = sum(one.median for one in measurements if not one.name.startswith(DETAIL))
        report.facts[f"{phase}: sum of the parts, s an image"] = whole
        for one in measurements:
            one.name = f"{phase}: {one.name}"
        report.measurements += measurements
    return report


def _inference_parts(detector: Detector, variables: Variables, batch: Batch) -> dict[str, Callable[[], None]]:
    """The steps of `Detector.detect`."""
    parts = _Parts(detector, variables)
    targets = detector.target_sizes(batch.sizes)
    levels = parts.add("backbone and FPN", Detector.features, batch.images, batch.sizes)
    logits, deltas = parts.add("RPN head", lambda self, levels: self.rpn_head(levels), levels)

    def propose(self, levels, logits, deltas, targets):
        return self.propose(logits, deltas, self.anchors(levels), targets, train=False)

    proposals = parts.add("proposals", propose, levels, logits, deltas, targets)
    pooled = parts.add("ROIAlign of boxes", _pool_boxes, levels, proposals.boxes)
    class_logits, class_deltas = parts.add("box head", _box_head, pooled)

    selected = parts.add("detections", Detector.select, class_logits, class_deltas, proposals, targets)
    parts.add("second pass, masks", lambda self, *inputs: self._second_pass(*inputs), levels, selected)
    return parts.functions


def _training_parts(
    detector: Detector, config: Config, variables: Variables, batch: Batch
) -> dict[str, Callable[[], None]]:
    """The steps of `Detector.losses`, and the optimiser."""
    parts = _Parts(detector, variables)
    keys = jax.random.split(jax.random.key(0), len(batch.images))
    levels = parts.add("backbone and FPN", Detector.features, batch.images, batch.sizes, through=0)
    rpn = parts.add("RPN head", lambda self, levels: self.rpn_head(levels), levels, through=1)
    samples = parts.add("proposals and samples", Detector.sample, levels, rpn, batch, keys)

    def region_losses(self, levels, rpn, batch, samples):
        return sum(losses.mean(term) for term in self.loss_terms(levels, rpn, batch, *samples).values())

    parts.add("regions and losses", region_losses, levels, rpn, batch, samples, through=2)
    boxes = samples[1].boxes
    pooled = parts.add(f"{DETAIL}ROIAlign of boxes", _pool_boxes, levels, boxes, through=1)
    parts.add(f"{DETAIL}box head", _box_head, pooled, through=1)
    positive = boxes[:, : int(detector.roi_batch_size * detector.roi_positive_fraction)]
    parts.add(
        f"{DETAIL}ROIAlign for masks",
        lambda self, levels, boxes: self.pool(levels, boxes, self.mask_cells),
        levels,
        positive,
        through=1,
    )
    optimizer = make_optimizer(config.train, frozen_stages=config.model.backbone.frozen_stages)
    state = optimizer.init(variables["params"])
    update = jax.jit(lambda params, state: optimizer.update(params, state, params))
    return parts.functions | {"optimiser": lambda: _wait(update(variables["params"], state))}


class _Parts:
    """Parts of a detector as functions without arguments, by name."""

    def __init__(self, detector: Detector, variables: Variables):
        self._detector = detector
        self._variables = variables
        self.functions: dict[str, Callable[[], None]] = {}

    def add(self, name: str, method: Callable[..., Any], *inputs: Any, through: int | None = None) -> Any:
        """Adds a method of the detector and returns what it gives for these inputs.

        Args:
          name: of the part.
          method: takes the bound detector and the inputs.
          inputs: arrays or trees of them.
          through: None: forward only. Else its backward pass too, to the parameters and to the first so many inputs.
        """

        def forward(variables, *inputs):
            return self._detector.apply(variables, *inputs, method=method)

        def both(variables, *inputs):
            def of(params, *first):
                return forward(variables | {"params": params}, *first, *inputs[through:])

            outputs, backward = jax.vjp(of, variables["params"], *inputs[:through])
            return outputs, backward(jax.tree.map(jnp.ones_like, outputs))

        function = jax.jit(forward if through is None else both)
        self.functions[name] = lambda: _wait(function(self._variables, *inputs))
        outputs = function(self._variables, *inputs)
        return outputs if through is None else outputs[0]


def _pool_boxes(self: Detector, levels: Any, boxes: Any) -> Any:
    return self.pool(levels, boxes, self.box_cells)


def _box_head(self: Detector, pooled: Any) -> Any:
    return self.box_predictor(self.box_head(pooled)[0])


def _wait(result: Any) -> None:
    jax.block_until_ready(result)
