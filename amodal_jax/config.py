"""What an experiment is: frozen dataclasses with the paper's values as defaults.

Only `build`, `train`, `evaluate` and `predict` read a `Config`; modules and operations take plain typed fields. A
configuration travels as JSON (`to_json`, `from_json`) beside every checkpoint, and a command line changes single fields
with `--model.mlc.box-layer 2` (`override`). Unknown and ill-typed fields are refused by name.
"""

import dataclasses
import difflib
import json
import math
import typing
from pathlib import Path
from typing import Any, Literal

from amodal_jax.errors import ConfigError, DataError
from amodal_jax.text_file import read_text

CONFIG_FILE = "config.json"  # in a run directory
MaskPaste = Literal["pixel_centres", "torchvision"]  # see `mask_output.paste_mask`
COCO_DETECTIONS_PER_CLASS = 100  # that COCOeval counts in an image
OCCLUSION_THRESHOLD = 0.05  # the paper's: an instance is occluded when a larger share of it is hidden
KINS_CLASS_NAMES = ("cyclist", "pedestrian", "car", "tram", "truck", "van", "misc")


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise ConfigError(f"{field} {message}")


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """From an image to the network's input, on the device."""

    short_side: int = 800  # pixels of the resized image's shorter side
    long_side: int = 3000  # upper limit of the resized image's longer side
    height: int = 800  # the static canvas that resized images are padded to in training and evaluation
    width: int = 2656
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"  # what the first convolution sees; mean and std are in this order

    def __post_init__(self):
        _require(self.short_side > 0, "model.input.short_side", "must be positive")
        _require(self.long_side >= self.short_side, "model.input.long_side", "must not be under short_side")
        for name in ("height", "width"):
            value = getattr(self, name)
            _require(value > 0 and value % 32 == 0, f"model.input.{name}", f"must be a multiple of 32, not {value}")
        for name in ("mean", "std"):
            _require(len(getattr(self, name)) == 3, f"model.input.{name}", "must have three values")
        _require(min(self.std) > 0, "model.input.std", "must be positive")


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The residual network."""

    depth: Literal[18, 50, 101] = 50
    width: int = 64  # channels of the stem
    norm: Literal["frozen_batch_norm", "group_norm"] = "frozen_batch_norm"
    stride_in_1x1: bool = False  # the MSRA weights' place of the stride in a bottleneck
    frozen_stages: int = 2  # 0: none, 1: stem, 2: stem and the first stage, ... as in fine-tuning from ImageNet

    def __post_init__(self):
        _require(self.width > 0, "model.backbone.width", "must be positive")
        _require(0 <= self.frozen_stages <= 5, "model.backbone.frozen_stages", "must be within 0..5")


@dataclasses.dataclass(frozen=True)
class AnchorConfig:
    """One size for each of P2..P6, in pixels of the network's input."""

    sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    # torchvision's anchors have whole pixels as sides, and lie as far apart as the input is longer than a level;
    # detectron2's have neither: a canvas of 416 pixels has its P6, of 7 cells, at 59 and at 64 pixels a cell.
    rounded: bool = True
    fitted_strides: bool = True

    def __post_init__(self):
        _require(len(self.sizes) == 5, "model.anchors.sizes", "must have five values, one for each of P2..P6")
        _require(len(self.aspect_ratios) > 0, "model.anchors.aspect_ratios", "must not be empty")
        _require(min(self.sizes + self.aspect_ratios) > 0, "model.anchors", "must be positive")


@dataclasses.dataclass(frozen=True)
class RPNConfig:
    """Region proposals on amodal boxes."""

    convolutions: int = 1  # 3x3, before the outputs
    foreground_iou: float = 0.7
    background_iou: float = 0.3
    batch_size: int = 256  # sampled anchors an image
    positive_fraction: float = 0.5
    nms_threshold: float = 0.7
    pre_nms_train: int = 2000  # of each level
    post_nms_train: int = 2000  # of all levels together
    pre_nms_test: int = 1000  # of each level, as the official code has it
    post_nms_test: int = 1000

    def __post_init__(self):
        _require(0 <= self.background_iou <= self.foreground_iou <= 1, "model.rpn", "IoU limits must be ordered")
        counts = ("convolutions", "batch_size", "pre_nms_train", "post_nms_train", "pre_nms_test", "post_nms_test")
        for name in counts:
            _require(getattr(self, name) > 0, f"model.rpn.{name}", "must be positive")
        _require(0 < self.positive_fraction <= 1, "model.rpn.positive_fraction", "must be within (0, 1]")
        _require(0 < self.nms_threshold <= 1, "model.rpn.nms_threshold", "must be within (0, 1]")


@dataclasses.dataclass(frozen=True)
class RoIConfig:
    """Sampling and pooling of regions of interest."""

    batch_size: int = 512  # sampled RoIs an image
    positive_fraction: float = 0.25
    iou_threshold: float = 0.5
    box_size: int = 7  # ROIAlign cells a side for the box and occlusion branches
    mask_size: int = 14  # for the mask branches; masks come out at twice that
    sampling_ratio: int = 2  # ROIAlign samples a cell and axis; 0: they adapt to the region, as detectron2's do
    aligned: bool = False  # half-pixel correction of ROIAlign; torchvision's weights expect False, detectron2's True
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)  # of the box coder

    def __post_init__(self):
        for name in ("batch_size", "box_size", "mask_size"):
            _require(getattr(self, name) > 0, f"model.roi.{name}", "must be positive")
        _require(self.sampling_ratio >= 0, "model.roi.sampling_ratio", "must not be negative")
        _require(0 < self.positive_fraction <= 1, "model.roi.positive_fraction", "must be within (0, 1]")
        _require(int(self.batch_size * self.positive_fraction) > 0, "model.roi.batch_size", "leaves no positive RoI")
        _require(0 < self.iou_threshold <= 1, "model.roi.iou_threshold", "must be within (0, 1]")
        _require(len(self.box_weights) == 4, "model.roi.box_weights", "must have four values")
        _require(self.mask_size == 2 * self.box_size, "model.roi.mask_size", "must be twice box_size (MLC doubles it)")


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """The branches on RoI features (paper section 4)."""

    box: Literal["conv4_fc1", "fc2"] = "conv4_fc1"
    fc_channels: int = 1024
    channels: int = 256  # of the branches' convolutions
    norm: Literal["none", "group_norm", "frozen_batch_norm"] = "none"  # also of the FPN
    amodal_mask: bool = True
    inmodal_mask: bool = True

    def __post_init__(self):
        _require(min(self.fc_channels, self.channels) > 0, "model.heads", "channels must be positive")


@dataclasses.dataclass(frozen=True)
class OcclusionConfig:
    """The occlusion classification branch (paper section 4.1, Table 6)."""

    enabled: bool = True
    threshold: float = OCCLUSION_THRESHOLD  # the branch is trained to find invisible area / amodal area over this
    positive_weight: float = 8.0

    def __post_init__(self):
        _require(0 <= self.threshold < 1, "model.occlusion.threshold", "must be within [0, 1)")
        _require(self.positive_weight > 0, "model.occlusion.positive_weight", "must be positive")


@dataclasses.dataclass(frozen=True)
class MLCConfig:
    """Multi-Level Coding (paper section 4.2; the switches are the rows of Tables 5 and 7)."""

    enabled: bool = True
    box_layer: int = 1  # a of MLC(a, b): box and occlusion features after their a-th convolution
    mask_layer: int = 1  # b: joined with the mask feature after its b-th convolution
    form: Literal["paper", "released"] = "paper"  # "released" is the official code's; it has none of the switches below
    join_features: Literal["concatenate", "add"] = "concatenate"  # part 1: box with occlusion features
    extraction_order: Literal["special_first", "special_last"] = "special_first"  # part 2: place of the deconvolution
    extraction_convolutions: Literal[1, 2, 3] = 2  # part 2: plain convolutions
    join_mask: Literal["concatenate", "add"] = "concatenate"  # part 3: extracted with mask features
    combination_order: Literal["special_first", "special_last"] = "special_last"  # part 4: place of the halving one
    combination_convolutions: Literal[1, 2, 3] = 2  # part 4: plain convolutions

    def __post_init__(self):
        _require(0 <= self.box_layer <= 3, "model.mlc.box_layer", "must be within 0..3")
        _require(0 <= self.mask_layer <= 3, "model.mlc.mask_layer", "must be within 0..3")
        if self.form == "released":
            for field in dataclasses.fields(self)[4:]:
                _require(
                    getattr(self, field.name) == field.default,
                    f"model.mlc.{field.name}",
                    'can be changed only with model.mlc.form = "paper"',
                )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network, from image to detections."""

    class_names: tuple[str, ...] = KINS_CLASS_NAMES  # empty: those of the dataset, filled in when training starts
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # parameters are float32 either way
    fpn_channels: int = 256
    input: InputConfig = InputConfig()
    backbone: BackboneConfig = BackboneConfig()
    anchors: AnchorConfig = AnchorConfig()
    rpn: RPNConfig = RPNConfig()
    roi: RoIConfig = RoIConfig()
    heads: HeadConfig = HeadConfig()
    occlusion: OcclusionConfig = OcclusionConfig()
    mlc: MLCConfig = MLCConfig()

    def __post_init__(self):
        _require(self.fpn_channels > 0, "model.fpn_channels", "must be positive")
        _require(len(set(self.class_names)) == len(self.class_names), "model.class_names", "must not repeat a name")
        named = all(name and name == name.strip() for name in self.class_names)
        _require(named, "model.class_names", "must have names without spaces around them, and none that is empty")
        if self.mlc.enabled:
            _require(self.occlusion.enabled, "model.mlc.enabled", "needs model.occlusion.enabled")
            _require(
                self.heads.box == "conv4_fc1",
                "model.mlc.enabled",
                'needs model.heads.box = "conv4_fc1": the two-FC head has no convolutions to take features from',
            )
            _require(
                self.heads.amodal_mask or self.heads.inmodal_mask, "model.mlc.enabled", "needs a mask branch to feed"
            )
            # Before its first convolution the mask feature has the pyramid's channels.
            _require(
                self.mlc.join_mask == "concatenate"
                or self.mlc.mask_layer > 0
                or self.fpn_channels == self.heads.channels,
                "model.mlc.join_mask",
                f'= "add" with mask_layer = 0 adds features of model.heads.channels = {self.heads.channels} to ones of '
                f"model.fpn_channels = {self.fpn_channels}: make the two equal, or concatenate",
            )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The built dataset and how it is fed."""

    directory: str = "~/tensorflow_datasets/kins"  # of the built TFDS dataset; the newest version within it is taken
    train_split: str = "train"
    test_split: str = "test"
    canvas_height: int = 376  # images travel to the device at native resolution on a canvas of this size
    canvas_width: int = 1242
    max_instances: int = 100  # slots an image for instances and crowds; an image with more is an error that names it
    flip: bool = True  # horizontal, with probability one half

    def __post_init__(self):
        for name in ("canvas_height", "canvas_width", "max_instances"):
            _require(getattr(self, name) > 0, f"data.{name}", "must be positive")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The paper's schedule (section 5)."""

    seed: int = 0
    steps: int = 24_000
    batch_size: int = 8  # images a step, of all devices together
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.02
    scale_learning_rate: bool = False  # linearly with batch_size / 8
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-4
    gradient_clip: float = 0.0  # largest global norm of the gradients; 0: any
    schedule: Literal["step", "cosine"] = "step"
    decay_steps: tuple[int, ...] = (20_000, 22_000)  # x0.1 at each, with schedule "step"
    warmup_steps: int = 500
    warmup_factor: float = 1 / 3  # of the learning rate, at step 0
    log_every: int = 20
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2  # last ones, besides the best
    evaluate_every: int = 4000  # 0: never during training

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"):
            _require(getattr(self, name) > 0, f"train.{name}", "must be positive")
        for name in ("seed", "weight_decay", "gradient_clip", "warmup_steps", "evaluate_every"):
            _require(getattr(self, name) >= 0, f"train.{name}", "must not be negative")
        _require(self.learning_rate > 0, "train.learning_rate", "must be positive")
        _require(0 <= self.momentum < 1, "train.momentum", "must be within [0, 1)")
        _require(0 < self.warmup_factor <= 1, "train.warmup_factor", "must be within (0, 1]")
        _require(list(self.decay_steps) == sorted(self.decay_steps), "train.decay_steps", "must be in order")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which detections count, and how they are computed."""

    batch_size: int = 8  # images a step, of all devices together
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections_per_class: int = COCO_DETECTIONS_PER_CLASS  # in an image
    max_detections: int = 1000  # in an image: room for ten full classes. Empty room costs memory alone, 6 kB each
    mask_threshold: float = 0.5
    mask_paste: MaskPaste = "pixel_centres"  # how masks come into the image; torchvision's way is for its own weights

    def __post_init__(self):
        for name in ("batch_size", "max_detections_per_class", "max_detections"):
            _require(getattr(self, name) > 0, f"evaluation.{name}", "must be positive")
        for name in ("score_threshold", "nms_threshold", "mask_threshold"):
            _require(0 <= getattr(self, name) <= 1, f"evaluation.{name}", "must be within [0, 1]")


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    name: str = "asn_r50_fpn"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


def to_json(config: Config) -> str:
    """The whole configuration as indented JSON; `from_json` reads it back equal."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> Config:
    """Reads what `to_json` wrote. Fields that are absent take their defaults.

    Raises:
      ConfigError: not JSON, an unknown field (the nearest known one is named), or a value of another type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the configuration is not JSON: {error}") from error
    return _parse(Config, values, "")


def read_config(run_dir: Path) -> Config | None:
    """The configuration in `config.json` of a run directory; None where there is none.

    Raises:
      ConfigError: the file cannot be read as one; names it.
    """
    path = run_dir / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        text = read_text(path)
    except DataError as error:
        raise ConfigError(str(error)) from error
    try:
        return from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def override(config: Config, arguments: list[str]) -> Config:
    """Returns `config` changed by command-line arguments `--section.field value` or `--section.field=value`.

    Names take dashes or underscores. Tuples are written as comma-separated values.

    Raises:
      ConfigError: an argument that is no override, an unknown field, a missing or ill-typed value.
    """
    values = dataclasses.asdict(config)
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if not argument.startswith("--"):
            raise ConfigError(f'"{argument}" is not an override: write --section.field value')
        path, equals, text = argument[2:].partition("=")
        path = path.replace("-", "_")
        if not equals:
            if not remaining:
                raise ConfigError(f"--{path} has no value")
            text = remaining.pop(0)
        kind: Any = Config
        target = values
        *sections, name = path.split(".")
        for depth, section in enumerate(sections):
            kind = _field_type(kind, section, ".".join(sections[:depth]))
            if not dataclasses.is_dataclass(kind):
                raise ConfigError(f"{path}: {section} has no fields")
            target = target[section]
        kind = _field_type(kind, name, ".".join(sections))
        if dataclasses.is_dataclass(kind):
            raise ConfigError(f"{path} is a section; name one of its fields: {', '.join(_field_types(kind))}")
        target[name] = _from_text(kind, text, path)
    return _parse(Config, values, "")


def field_lines(config: Config) -> list[str]:
    """Every field as `--section.field value`, for help texts."""

    def lines(section: Any, prefix: str):
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            if dataclasses.is_dataclass(value):
                yield from lines(value, f"{prefix}{field.name}.")
            else:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                yield f"--{prefix}{field.name.replace('_', '-')} {text}"

    return list(lines(config, ""))


def _field_types(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _field_type(kind: Any, name: str, section: str) -> Any:
    known = _field_types(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise ConfigError(f"unknown field {section + '.' if section else ''}{name}: {hint}")
    return known[name]


def _from_text(kind: Any, text: str, path: str) -> Any:
    """A command line's text as the JSON value that `_parse` checks."""
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return [_from_text(item, part, path) for part in text.split(",") if part]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{path} must be true or false, not {text!r}")
        return text.lower() == "true"
    if kind is str or (typing.get_origin(kind) is Literal and isinstance(typing.get_args(kind)[0], str)):
        return text
    number = float if kind is float else int
    try:
        return number(text)
    except ValueError:
        raise ConfigError(f"{path} must be {'a number' if number is float else 'an integer'}, not {text!r}") from None


def _parse(kind: Any, value: Any, path: str) -> Any:
    """Checks a JSON value against a field's type and returns it as that type."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{path or 'the configuration'} must be an object of fields, not {value!r}")
        prefix = f"{path}." if path else ""
        return typing.cast(type, kind)(
            **{name: _parse(_field_type(kind, name, path), item, f"{prefix}{name}") for name, item in value.items()}
        )
    origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} must be a list, not {value!r}")
        return tuple(_parse(typing.get_args(kind)[0], item, path) for item in value)
    if origin is Literal:
        if value not in typing.get_args(kind) or isinstance(value, bool):
            raise ConfigError(f"{path} must be one of {', '.join(map(str, typing.get_args(kind)))}, not {value!r}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{path} must be {kind.__name__}, not {value!r}")
    if kind is int and abs(value) >= 2**31:  # devices have no 64-bit integers
        raise ConfigError(f"{path} must be under {2**31}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{path} must be finite, not {value!r}")
    return value
