"""Prediction: an image in, the objects in it out.

Shape shorthand: H x W image, n objects.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import jax
import numpy as np

from amodal_jax.canvas import input_canvas, least_input_canvas, source_canvas
from amodal_jax.config import Config
from amodal_jax.errors import ImageError
from amodal_jax.masks.paste import paste_mask
from amodal_jax.network import Variables, build_network
from amodal_jax.structures import Detections, Instances


class Predictor:
    """A trained network that finds the objects in images of any size.

    The first image of a size costs a compilation. Sizes are padded to a few canvases, so that images of nearly one size
    share it: the configuration's own canvases, which its dataset's images all fit, or for other images the next
    multiple of 128 pixels (as stored) and of 32 pixels (as the network sees them) a side. An image is resized the same
    way, by the configuration's short and long side, whatever its canvas.
    """

    def __init__(self, config: Config, variables: Variables, *, share_canvases: bool = True):
        """Takes the parameters of the network that `config` describes, and puts them on the first device.

        Args:
          config: the network and its thresholds.
          variables: its parameters.
          share_canvases: without, the network sees each image on the least canvas that holds it, as torchvision's does.
            A larger one changes results a little near the image's right and lower border.
        """
        self.config = config
        self._share_canvases = share_canvases
        self._variables = jax.device_put(variables)
        self._compiled: dict[tuple[int, int], Callable[..., Detections]] = {}

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, kind: Literal["last", "best"] = "last", flip: bool | None = None
    ) -> "Predictor":
        """The predictor of a training run, or of an exported network.

        Args:
          path: the run directory, the folder of one checkpoint in it, or the folder of an export.
          kind: of a run directory the newest checkpoint, or the one that evaluated best.
          flip: whether objects are those of an image and of its mirror image together (`models.mirror`), which takes
            twice the time; None: as the run's configuration says in `evaluation.flip`.

        Raises:
          CheckpointError: there is no checkpoint, none is good, or its parameters are not those of its configuration.
          ConfigError: the network does not look at mirror images.
        """
        # Imported here, as Orbax is only needed for this.
        from amodal_jax.runs.checkpoint_reader import load_checkpoint

        config, variables, _ = load_checkpoint(Path(path), kind=kind)
        if flip is not None:
            config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, flip=flip))
        return cls(config, variables)

    @classmethod
    def from_torchvision(
        cls,
        weights: str | Path | Mapping[str, Any],
        num_classes: int = 91,
        min_size: int = 800,
        max_size: int = 1333,
        *,
        class_names: Sequence[str] | None = None,
        batch_norm_epsilon: float | None = None,
    ) -> "Predictor":
        """The predictor that finds what torchvision's `maskrcnn_resnet50_fpn` or its `_v2` finds with these weights.

        Their masks are the inmodal ones, as COCO annotates what is seen of an object.

        Args:
          weights: a file (.pth, .safetensors or .npz), or the model's state dict, of PyTorch's tensors or of arrays.
          num_classes: with the background, as torchvision counts them.
          min_size: images are resized so that their shorter side has this many pixels,
          max_size: or their longer side this many, whichever is smaller.
          class_names: the foreground classes in the order of their labels; by default COCO's where there are 90, else
            class_1, class_2 and so on. Label i here is torchvision's i + 1.
          batch_norm_epsilon: what the model adds to the variance of its batch norm. By default 0 for the weights that
            torchvision publishes, taken to be those of 91 classes whose batch norm is frozen, and else 1e-5: the
            weights themselves do not say it.

        Raises:
          WeightsError: the file cannot be read, the arrays are not those of such a model, or their number of classes is
            another; names the file and the arrays.
          ConfigError: sizes or class names that cannot be used.
        """
        # Imported here, as predicting from a checkpoint needs none of it.
        from amodal_jax.weights.convert import convert_weights
        from amodal_jax.weights.files import plain_weights, read_weights
        from amodal_jax.weights.layouts import torchvision

        if isinstance(weights, str | Path):
            source, arrays = str(weights), read_weights(weights)
        else:
            source = "the state dict"
            arrays = plain_weights(weights, source=source)
        made = convert_weights(
            arrays,
            source=source,
            num_classes=num_classes,
            class_names=class_names,
            batch_norm_epsilon=batch_norm_epsilon,
            layouts=torchvision.LAYOUTS,
        )
        height, width = least_input_canvas((min_size, max_size))
        model = dataclasses.replace(
            made.config.model,
            input=dataclasses.replace(
                made.config.model.input, short_side=min_size, long_side=max_size, height=height, width=width
            ),
        )
        return cls(dataclasses.replace(made.config, model=model), made.variables, share_canvases=False)

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """The kinds of masks that its instances have, of "amodal" and "inmodal"."""
        return build_network(self.config).mask_kinds

    @overload
    def __call__(self, images: np.ndarray) -> Instances: ...

    @overload
    def __call__(self, images: Sequence[np.ndarray]) -> list[Instances]: ...

    def __call__(self, images: Any) -> Instances | list[Instances]:
        """Finds the objects in one image, or in each of a list of images.

        Args:
          images: uint8 RGB [H, W, 3], or a list or tuple of such; `amodal_jax.files.image_reader.read_image` gives them
            from files of any kind.

        Returns:
          The objects of the image, best first, boxes and masks in its own pixels; for a list, a list of them.

        Raises:
          ImageError: an image of another type, shape or number of channels; says what to do.
        """
        if not isinstance(images, list | tuple):
            _check_image(images, "the image")
            return self._instances(images, self._start(images))
        for index, image in enumerate(images):
            _check_image(image, f"image {index} of the list")
        found: list[Instances] = []
        waiting: list[tuple[np.ndarray, Detections]] = []
        for image in images:
            # The device works on this image while the masks of the one before are pasted.
            waiting.append((image, self._start(image)))
            if len(waiting) > 1:
                found.append(self._instances(*waiting.pop(0)))
        return found + [self._instances(*last) for last in waiting]

    def _start(self, image: np.ndarray) -> Detections:
        """Dispatches the network on one image; the result is not waited for."""
        height, width = image.shape[:2]
        source = source_canvas((height, width), self.config)
        network_input = input_canvas((height, width), self.config.model.input, shared=self._share_canvases)
        if network_input not in self._compiled:
            network = build_network(self.config, network_input)
            self._compiled[network_input] = jax.jit(functools.partial(network.apply, method="detect"))
        canvas = np.zeros((1, *source, 3), np.uint8)
        canvas[0, :height, :width] = image
        return self._compiled[network_input](self._variables, canvas, np.array([[height, width]], np.int32))

    def _instances(self, image: np.ndarray, detections: Detections) -> Instances:
        one = jax.tree.map(lambda x: x[0], jax.device_get(detections))
        slots = np.flatnonzero(one.valid)
        boxes = one.boxes[slots]
        size = (image.shape[0], image.shape[1])
        evaluation = self.config.evaluation

        def paste(masks: np.ndarray | None) -> np.ndarray | None:
            if masks is None:
                return None
            pasted = np.zeros((len(slots), *size), bool)
            for index, slot in enumerate(slots):
                pasted[index] = paste_mask(
                    masks[slot], boxes[index], size, evaluation.mask_threshold, evaluation.mask_paste
                )
            return pasted

        return Instances(
            boxes=boxes,
            scores=one.scores[slots],
            labels=one.labels[slots],
            class_names=self.config.model.class_names,
            occluded=None if one.occluded is None else one.occluded[slots],
            amodal_masks=paste(one.amodal_masks),
            inmodal_masks=paste(one.inmodal_masks),
        )


def _check_image(image: Any, name: str) -> None:
    if isinstance(image, str | Path):
        raise ImageError(f'{name} is a path, "{image}": read it with amodal_jax.files.image_reader.read_image')
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{name} is a {type(image).__name__}: pass a NumPy array, uint8 RGB [H, W, 3]")
    if image.ndim == 4:
        raise ImageError(f"{name} has the shape {image.shape}: pass several images as a list")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ImageError(f"{name} is grey, of the shape {image.shape}: repeat it to three channels, [H, W, 3]")
    if image.ndim == 3 and image.shape[2] == 4:
        raise ImageError(f"{name} has four channels: drop the alpha channel with image[..., :3]")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{name} has the shape {image.shape}: pass uint8 RGB [H, W, 3]")
    if image.dtype != np.uint8:
        raise ImageError(f"{name} has {image.dtype} pixels: scale them to 0..255 and convert them to uint8")
    if image.size == 0:
        raise ImageError(f"{name} has no pixels: its shape is {image.shape}")
