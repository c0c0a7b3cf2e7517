"""Inference and the training step part by part, each compiled and timed by itself on what the part before it gave.

What XLA gains by compiling parts together, and the copies between them, are missing from the sum; the whole is timed by
`inference` and `training_step`. A part of training is its forward and its backward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from amodal_jax import losses
from amodal_jax.config import Config
from amodal_jax.errors import ConfigError
from amodal_jax.models.networks.detector import Detector
from amodal_jax.network import Variables, build_network
from amodal_jax.structures import AnchorScores, Batch
from amodal_jax.training.optimizer import make_optimizer
from scripts.benchmarks.example import make_batch
from scripts.benchmarks.measurement import Report, interleave
from scripts.benchmarks.network import draw_examples, random_variables
from scripts.benchmarks.options import Options

DETAIL = "  of it "  # begins the name of a part of the part before


def measure(options: Options) -> Report:
    """Times the parts on one device."""
    config = options.sized()
    detector = build_network(config)
    if not isinstance(detector, Detector):
        raise ConfigError(f"{config.name} is no network of a detector's parts")
    if config.evaluation.flip:
        raise ConfigError("evaluation.flip must be false here: the parts are timed on images without mirror images")
    variables = random_variables(config)
    batch = jax.tree.map(jnp.asarray, make_batch(draw_examples(config), config))
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
    inputs = parts.add("preprocessing", lambda self, *images: self.preprocess(*images), batch.images, batch.sizes)
    levels = parts.add("backbone and neck", lambda self, pixels: self.fpn(self.backbone(pixels)), inputs.pixels)
    scores = parts.add("RPN head", _anchor_scores, levels, inputs.pixels)

    def propose(self, scores, sizes):
        return self.rpn.propose(scores, sizes, train=False)

    proposals = parts.add("proposals", propose, scores, inputs.sizes)
    pooled = parts.add("ROIAlign of boxes", _pool_boxes, levels, proposals.boxes)
    logits, deltas = parts.add("box head", _box_head, pooled)
    selected = parts.add(
        "detections", lambda self, *outputs: self.boxes.choose(*outputs), logits, deltas, proposals, inputs.sizes
    )
    parts.add("second pass, masks", Detector.second_pass, levels, selected)
    return parts.functions


def _training_parts(
    detector: Detector, config: Config, variables: Variables, batch: Batch
) -> dict[str, Callable[[], None]]:
    """The steps of `Detector.losses`, and the optimiser."""
    parts = _Parts(detector, variables)
    keys = jax.random.split(jax.random.key(0), len(batch.images))
    inputs = detector.preprocess(batch.images, batch.sizes, batch.truth)
    levels = parts.add(
        "backbone and neck", lambda self, pixels: self.fpn(self.backbone(pixels)), inputs.pixels, through=0
    )
    scores = parts.add("RPN head", _anchor_scores, levels, inputs.pixels, through=1)

    def sample(self, scores, inputs, valid, keys):
        proposals = self.rpn.propose(scores, inputs.sizes, train=True)
        return (
            self.rpn.sample(scores, inputs.truth, valid, keys),
            self.boxes.sample(proposals, inputs.truth, valid, keys),
        )

    anchors, rois = parts.add("proposals and samples", sample, scores, inputs, batch.valid, keys)

    def region_losses(self, levels, logits, deltas, anchors, rois, truth, keys):
        scores_ = AnchorScores(logits, deltas, scores.anchors)
        return sum(map(losses.mean, self.loss_terms(levels, scores_, anchors, rois, truth, keys).values()))

    given = (levels, scores.logits, scores.deltas, anchors, rois, inputs.truth, keys)
    parts.add("regions and losses", region_losses, *given, through=3)
    pooled = parts.add(f"{DETAIL}ROIAlign of boxes", _pool_boxes, levels, rois.boxes, through=1)
    parts.add(f"{DETAIL}box head", _box_head, pooled, through=1)
    positive = rois.boxes[:, : config.model.roi.positive_slots]
    parts.add(
        f"{DETAIL}ROIAlign for masks",
        lambda self, levels, boxes: self.pooling(levels, boxes, config.model.roi.mask_size),
        levels,
        positive,
        through=1,
    )
    optimizer = make_optimizer(config.train, frozen=detector.frozen)
    state = optimizer.init(variables["params"])
    update = jax.jit(lambda params, state: optimizer.update(params, state, params))
    return parts.functions | {"optimiser": lambda: _wait(update(variables["params"], state))}


class _Opened(Detector):
    """A detector that is called by any function of it: Flax sets a module up when one of its methods is called."""

    def call(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """The function of the detector and the inputs."""
        return function(self, *inputs)


class _Parts:
    """Parts of a detector as functions without arguments, by name."""

    def __init__(self, detector: Detector, variables: Variables):
        self._detector = _Opened(**{name: getattr(detector, name) for name in Detector.__annotations__})
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
            return self._detector.apply(variables, method, *inputs, method="call")

        def both(variables, *inputs):
            def of(params, *first):
                return forward(variables | {"params": params}, *first, *inputs[through:])

            outputs, backward = jax.vjp(of, variables["params"], *inputs[:through])
            return outputs, backward(jax.tree.map(jnp.ones_like, outputs))

        function = jax.jit(forward if through is None else both)
        self.functions[name] = lambda: _wait(function(self._variables, *inputs))
        outputs = function(self._variables, *inputs)
        return outputs if through is None else outputs[0]


def _anchor_scores(self: Detector, levels: Any, pixels: Any) -> Any:
    return self.rpn(levels, (pixels.shape[1], pixels.shape[2]))


def _pool_boxes(self: Detector, levels: Any, boxes: Any) -> Any:
    return self.pooling(levels, boxes, self.pooling.config.box_size)


def _box_head(self: Detector, pooled: Any) -> Any:
    return self.boxes.box_predictor(self.boxes.box_head(pooled)[0])


def _wait(result: Any) -> None:
    jax.block_until_ready(result)
