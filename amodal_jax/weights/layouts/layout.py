"""The form of a layout: what the arrays of a file of weights are called, and how ours are made from them.

A layout is data: a table from each variable of our network to its source. `amodal_jax.weights.convert` recognises a
layout by the names in its table, checks the arrays against the shapes in it, and makes the variables.

Variables are called by their path, "params/backbone/layer1_0/conv1/kernel". The functions below make the sources of the
kinds of arrays that PyTorch stores; ours are kernels [k, k, in, out] and [in, out].
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from amodal_jax.config import Config
from amodal_jax.models.backbones.resnet import BLOCKS_PER_STAGE

BATCH_NORM_EPSILON = 1e-5
"""What every framework here adds to the variance, as `amodal_jax.models.layers.FrozenBatchNorm` does, unless a layout
says otherwise."""

# Of Mask R-CNN on a pyramid, as torchvision and detectron2 both have it.
CHANNELS = 256  # of the pyramid and the heads
HIDDEN = 1024  # of the box head
CELLS = 7  # a side of the regions that the box head sees
ANCHORS = 3  # a cell of the pyramid
MASK_HEAD = "inmodal_mask_head"  # the name of ours: COCO annotates what is seen of an object


@dataclasses.dataclass(frozen=True)
class Source:
    """Where one of our variables comes from."""

    reads: Mapping[str, tuple[int, ...]]
    """The arrays in the file, each with the shape that it must have there; none for a constant."""
    make: Callable[..., np.ndarray]
    """Gives our variable from those arrays, in their order. What it returns is cast to float32."""


Sources = dict[str, Source]
"""The source of each variable, by the variable's path."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a framework stores the weights of one network."""

    title: str
    """What errors and reports call it."""
    config: Config
    """The network that the weights are of, and all that they expect of it; `pretrained` fills in the class names."""
    sources: Callable[[int], Sources]
    """From the number of foreground classes (0 for a backbone) to the source of every variable of the network. Which
    names are read must not depend on the number."""
    class_scores: str | None = None
    """The array with a row for each class and for the background; None where the weights are a backbone's alone."""
    class_names: tuple[str, ...] = ()
    """The foreground classes of the published weights, in the order of our labels, taken where their number fits."""
    unread: str | None = None
    """A regular expression that whole names match which may be in a file and are of no use."""
    batch_norm_epsilon: Callable[[Mapping[str, np.ndarray]], float] = lambda arrays: BATCH_NORM_EPSILON
    """From the arrays to what is added to the variance of their batch normalisations."""
    configure: Callable[[Config, Mapping[str, np.ndarray]], Config] = lambda config, arrays: config
    """From `config` and the arrays to the configuration, where unread arrays tell more than the names do. Raises
    `WeightsError` for arrays that no configuration has."""


# ----- the sources of PyTorch's arrays


def vector(name: str, length: int) -> Source:
    """A bias, or a normalisation's value for each channel."""
    return Source({name: (length,)}, lambda array: array)


def convolution(name: str, size: int, inputs: int, outputs: int) -> Source:
    """The weight [out, in, k, k] of a convolution."""
    return Source({name: (outputs, inputs, size, size)}, lambda weight: weight.transpose(2, 3, 1, 0))


def deconvolution(name: str, size: int, inputs: int, outputs: int) -> Source:
    """The weight [in, out, k, k] of a transposed convolution whose stride is its size."""
    return Source({name: (inputs, outputs, size, size)}, lambda weight: weight.transpose(2, 3, 0, 1))


def dense(name: str, inputs: int, outputs: int) -> Source:
    """The weight [out, in] of a dense layer."""
    return Source({name: (outputs, inputs)}, lambda weight: weight.T)


def dense_over_cells(name: str, cells: int, channels: int, outputs: int) -> Source:
    """The weight [out, C * cells * cells] of a dense layer over a flattened map.

    PyTorch's maps are flattened channel by channel, ours cell by cell.
    """

    def make(weight: np.ndarray) -> np.ndarray:
        return weight.reshape(outputs, channels, cells, cells).transpose(2, 3, 1, 0).reshape(-1, outputs)

    return Source({name: (outputs, channels * cells * cells)}, make)


def with_bias(path: str, name: str, kernel: Source, outputs: int) -> Sources:
    """The kernel and bias of the layer at `path` (no collection in front), the bias from PyTorch's layer `name`."""
    return {f"params/{path}/kernel": kernel, f"params/{path}/bias": vector(f"{name}.bias", outputs)}


def batch_norm(path: str, name: str, channels: int) -> Sources:
    """The four values of the frozen batch norm at `path` (no collection in front) from PyTorch's at `name`."""
    values = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return {f"frozen/{path}/{ours}": vector(f"{name}.{theirs}", channels) for ours, theirs in values.items()}


# ----- the shapes of a residual network


@dataclasses.dataclass(frozen=True)
class ResidualBlock:
    """One block of `amodal_jax.models.backbones.resnet`."""

    stage: int
    """1 to 4."""
    index: int
    """Within the stage, from 0."""
    convolutions: tuple[tuple[int, int, int], ...]
    """(kernel size, input channels, output channels) of conv1, conv2 and, in a bottleneck, conv3."""
    inputs: int
    """Channels of the block's input."""
    outputs: int
    """Channels of the block's output."""

    @property
    def name(self) -> str:
        """What the block is called in our network."""
        return f"layer{self.stage}_{self.index}"

    @property
    def projects(self) -> bool:
        """Whether the shortcut has a convolution."""
        return self.index == 0 and (self.stage > 1 or self.inputs != self.outputs)


def residual_blocks(depth: int) -> Iterator[ResidualBlock]:
    """The blocks of a ResNet whose stem has 64 channels."""
    inputs = 64
    for stage, count in enumerate(BLOCKS_PER_STAGE[depth], start=1):
        width = 32 * 2**stage
        for index in range(count):
            convolutions: tuple[tuple[int, int, int], ...]
            if depth == 18:
                outputs, convolutions = width, ((3, inputs, width), (3, width, width))
            else:
                outputs = 4 * width
                convolutions = ((1, inputs, width), (3, width, width), (1, width, outputs))
            yield ResidualBlock(stage, index, convolutions, inputs, outputs)
            inputs = outputs


def residual_network(
    depth: int,
    *,
    stem: tuple[str, str],
    block: Callable[[ResidualBlock], str],
    convolution_of: Callable[[str, int], tuple[str, str]],
    shortcut: tuple[str, str],
    weight: str,
    norm: Callable[[str, str, int], Sources] = batch_norm,
) -> Sources:
    """The table of our backbone, with the names that another framework gives its layers.

    Args:
      depth: of the network.
      stem: of the first layer, those of its convolution and of its normalisation.
      block: the beginning of a block's names.
      convolution_of: from that and a convolution's number, from 1, the names of it and of its normalisation.
      shortcut: what follows the block's name in those of its projection and of the normalisation of that.
      weight: what follows a convolution's name in its kernel's.
      norm: the table of a normalisation, as `batch_norm`.
    """
    kernel, normalisation = stem
    sources: Sources = {"params/backbone/conv1/kernel": convolution(kernel + weight, 7, 3, 64)}
    sources |= norm("backbone/bn1", normalisation, 64)
    for each in residual_blocks(depth):
        ours, theirs = f"backbone/{each.name}", block(each)
        for number, (size, inputs, outputs) in enumerate(each.convolutions, start=1):
            kernel, normalisation = convolution_of(theirs, number)
            sources[f"params/{ours}/conv{number}/kernel"] = convolution(kernel + weight, size, inputs, outputs)
            sources |= norm(f"{ours}/bn{number}", normalisation, outputs)
        if each.projects:
            kernel, normalisation = (theirs + name for name in shortcut)
            sources[f"params/{ours}/downsample_conv/kernel"] = convolution(
                kernel + weight, 1, each.inputs, each.outputs
            )
            sources |= norm(f"{ours}/downsample_norm", normalisation, each.outputs)
    return sources
