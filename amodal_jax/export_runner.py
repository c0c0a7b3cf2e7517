"""Finds the objects in images with an exported network. Needs jax, flatbuffers and NumPy, and no other package.

python run.py IMAGE ... --out DIR

IMAGE is a NumPy file (.npy) of uint8 RGB [height, width, 3], or any image that OpenCV reads, if OpenCV is installed.
An image that cannot be read, or does not fit the network, is reported and skipped, and the exit status is then 1.
For each other image NAME.npz is written with the objects that were found, best first:

    boxes           float32 [n, 4]   amodal, [x1, y1, x2, y2] in the image's pixels
    scores          float32 [n]
    labels          int32 [n]        indices into class_names
    class_names     text [K]
    occluded        float32 [n]      probability; where the network has the branch, as the masks
    amodal_masks    bool [n, height, width]
    inmodal_masks   bool [n, height, width]

From Python, beside this file:

    from run import ExportedNetwork
    (found,) = ExportedNetwork()([image])   # a dictionary of the same arrays for each image
"""

import argparse
import io
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Ends without an exception, which within an import could come out of it as another one, or be lost in it."""
    os.write(sys.stderr.fileno(), b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, _end_at_once)

import jax
import numpy as np
from jax import export

if __package__ == "amodal_jax":
    from amodal_jax.files.image_framing import file_damage
else:  # an export, in which it lies beside this file
    from image_framing import file_damage  # type: ignore[import-not-found, no-redef]

NETWORK_FILE = "detect.jax_export"
PARAMETERS_FILE = "parameters.safetensors"
SHEET_FILE = "export.json"


class ExportedNetwork:
    """An exported network, compiled for this machine's first device when it is first called."""

    def __init__(self, folder: str | Path = Path(__file__).parent):
        """Reads the folder of an export.

        Raises:
          OSError: a file of it cannot be read.
          ImportError: flatbuffers is missing, which JAX needs for this but does not install.
          ValueError: a file of it is damaged, or this version of JAX does not read it.
        """
        folder = Path(folder)
        try:
            sheet = json.loads((folder / SHEET_FILE).read_text())
            self.class_names: tuple[str, ...] = tuple(sheet["class_names"])
            self.batch_size: int = sheet["batch_size"]
            self.height: int = sheet["height"]
            self.width: int = sheet["width"]
            self._resizing: tuple[int, int] = (sheet["short_side"], sheet["long_side"])
            self._input: tuple[int, int] = (sheet["input_height"], sheet["input_width"])
            self._mask_threshold: float = sheet["mask_threshold"]
            self._mask_paste: str = sheet.get("mask_paste", "pixel_centres")  # absent in exports of earlier versions
            writer: str = sheet["jax_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / SHEET_FILE}: is damaged ({error!r}); copy or export it again") from error
        serialized = bytearray((folder / NETWORK_FILE).read_bytes())
        try:
            exported = export.deserialize(serialized)
        except ImportError:
            raise
        except Exception as error:  # flatbuffers raises whatever a damaged file leads it to
            raise ValueError(
                f"{folder / NETWORK_FILE}: cannot be read by jax {jax.__version__}; it is damaged, or the jax "
                f"{writer} that wrote it is too old or too new for this one ({error})"
            ) from error
        self._parameters = jax.device_put(read_safetensors(folder / PARAMETERS_FILE))
        self._detect = jax.jit(exported.call)

    def __call__(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The objects in each image, best first; see the head of this file.

        Args:
          images: uint8 RGB [height, width, 3], none larger than `height` x `width` of the network.

        Raises:
          ValueError: as `check`.
        """
        for index, image in enumerate(images):
            self.check(image, f"image {index}")
        found = []
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            canvas = np.zeros((self.batch_size, self.height, self.width, 3), np.uint8)
            sizes = np.full((self.batch_size, 2), (self.height, self.width), np.int32)  # also of what fills the batch
            for slot, image in enumerate(part):
                sizes[slot] = image.shape[:2]
                canvas[slot, : image.shape[0], : image.shape[1]] = image
            detections = jax.device_get(self._detect(self._parameters, canvas, sizes))
            found += [self._objects(detections, slot, image.shape[:2]) for slot, image in enumerate(part)]
        return found

    def _objects(self, detections: dict[str, np.ndarray], slot: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
        valid = detections["valid"][slot]
        objects = {name: values[slot][valid] for name, values in detections.items() if name != "valid"}
        for name in ("amodal_masks", "inmodal_masks"):
            if name in objects:
                pasted = np.zeros((len(objects[name]), *size), bool)
                for mask, probability, box in zip(pasted, objects[name], objects["boxes"], strict=True):
                    paste_mask(mask, probability, box, self._mask_threshold, self._mask_paste)
                objects[name] = pasted
        return objects

    def check(self, image: Any, name: str) -> None:
        """Checks that the network takes an image, which errors call by `name`.

        Raises:
          ValueError: it is of another type or shape, or does not fit the network, as it is or resized.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"{name} is {what}; pass uint8 RGB [height, width, 3]")
        height, width = image.shape[:2]
        if not (0 < height <= self.height and 0 < width <= self.width):
            raise ValueError(
                f"{name} has {height} x {width} pixels, and the network was exported for up to {self.height} x "
                f"{self.width}; export it again with --height and --width, or make the image smaller"
            )
        # What does not fit the network's input would be cut off there without a word.
        short_side, long_side = self._resizing
        factor = min(short_side / min(height, width), long_side / max(height, width))
        resized = (int(height * factor), int(width * factor))
        if not (0 < resized[0] <= self._input[0] and 0 < resized[1] <= self._input[1]):
            raise ValueError(
                f"{name} of {height} x {width} pixels becomes {resized[0]} x {resized[1]} in the network, whose "
                f"input is 1 x 1 to {self._input[0]} x {self._input[1]}; export it again with --model.input.height and "
                "--model.input.width"
            )


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file of float32: a length, a json header of that length, and the bytes it points to.

    Raises:
      ValueError: the file is damaged or holds another type.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        arrays = {}
        for name, entry in header.items():
            if entry["dtype"] != "F32":
                raise ValueError(f"{name} is {entry['dtype']}, not F32")
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            arrays[name] = np.frombuffer(content[begin:end], "<f4").reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged or no safetensors file of float32 ({error})") from error
    return arrays


def paste_mask(image: np.ndarray, probability: np.ndarray, box: np.ndarray, threshold: float, paste: str) -> None:
    """Sets the pixels of `image` [height, width] that belong to the mask whose probability lies in the frame of `box`.

    Args:
      image: bool, changed in place.
      probability: [M, M].
      box: [x1, y1, x2, y2] in pixels.
      threshold: of the probability.
      paste: "pixel_centres" or "torchvision", see the two functions.
    """
    within = paste_at_pixel_centres if paste == "pixel_centres" else _paste_as_torchvision
    pasted, left, top = within(probability, box, image.shape, threshold)
    image[top : top + pasted.shape[0], left : left + pasted.shape[1]] = pasted


def paste_at_pixel_centres(
    probability: np.ndarray, box: np.ndarray, image_size: tuple[int, ...], threshold: float
) -> tuple[np.ndarray, int, int]:
    """The mask within an image of `image_size` (height, width), and the column and row of the image where it starts.

    detectron2's `paste_masks_in_image`: a pixel belongs to the mask where the probability at its centre is at least
    `threshold`. It is bilinear between the centres of the cells and falls to 0 half a cell outside of the box. A box
    without area has no mask.
    """
    cells = probability.shape[0]
    x1, y1, x2, y2 = box.tolist()
    left, columns, x_weights = _pixel_centres(x1, x2, image_size[1], cells)
    top, rows, y_weights = _pixel_centres(y1, y2, image_size[0], cells)
    bordered = np.zeros((cells + 3, cells + 3), np.float32)
    bordered[1:-2, 1:-2] = probability
    # a + (b - a) * w along x and then y, in place, as most of the time goes into passes over the pixels.
    across = bordered.take(columns, axis=1)
    across += (bordered.take(columns + 1, axis=1) - across) * x_weights
    pasted = np.diff(across, axis=0).take(rows, axis=0)
    pasted *= y_weights[:, None]
    pasted += across.take(rows, axis=0)
    return pasted >= threshold, left, top


def _pixel_centres(low: float, high: float, pixels: int, cells: int) -> tuple[int, np.ndarray, np.ndarray]:
    """The pixels of an axis whose centres the probabilities of [low, high] reach.

    Returns:
      The first of them; for each the cell before it, counted from a border of one cell, and the weight of the next one.
    """
    reach = (high - low) / (2 * cells)
    first = last = 0
    if reach > 0:  # neither reversed nor NaN
        first = max(math.ceil(low - reach - 0.5), 0)
        last = min(math.floor(high + reach - 0.5) + 1, pixels)
    if last <= first:
        return 0, np.zeros(0, np.intp), np.zeros(0, np.float32)
    place = np.clip((np.arange(first, last) + 0.5 - low) * (cells / (high - low)) + 0.5, 0, cells + 1)
    before = np.floor(place).astype(np.intp)
    return first, before, (place - before).astype(np.float32)


def _paste_as_torchvision(
    probability: np.ndarray, box: np.ndarray, image_size: tuple[int, ...], threshold: float
) -> tuple[np.ndarray, int, int]:
    """As `paste_at_pixel_centres`, by torchvision's `paste_masks_in_image`.

    The mask gets a border of one cell, the box grows with it and is cut to whole pixels, the mask is resized to it
    bilinearly, and what is above `threshold` belongs to it.
    """
    cells = probability.shape[0]
    half = (box[2:] - box[:2]) * np.float32(0.5) * np.float32((cells + 2) / cells)
    centre = (box[2:] + box[:2]) * np.float32(0.5)
    x1, y1, x2, y2 = (int(edge) for edge in np.concatenate([centre - half, centre + half]))
    left, right = max(x1, 0), min(x2 + 1, image_size[1])
    top, bottom = max(y1, 0), min(y2 + 1, image_size[0])
    if left >= right or top >= bottom:
        return np.zeros((0, 0), bool), 0, 0
    bordered = np.pad(probability, 1)
    x_low, x_high, x_weight = _taps(left - x1, right - x1, x2 - x1 + 1, cells + 2)
    y_low, y_high, y_weight = _taps(top - y1, bottom - y1, y2 - y1 + 1, cells + 2)
    rows = bordered[:, x_low] * (1 - x_weight) + bordered[:, x_high] * x_weight
    resized = rows[y_low] * (1 - y_weight[:, None]) + rows[y_high] * y_weight[:, None]
    return resized > threshold, left, top


def _taps(first: int, last: int, pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two cells that each pixel from `first` to `last` of `pixels` lies between, and the weight of the second."""
    position = np.clip((np.arange(first, last) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    low = np.floor(position).astype(int)
    return low, np.minimum(low + 1, cells - 1), (position - low).astype(np.float32)


def read_image(path: Path) -> np.ndarray:
    """An image file as uint8 RGB [height, width, 3]; 16-bit values v become round(v / 257).

    Raises:
      ValueError: it cannot be read, is empty, incomplete, damaged or no image, or only OpenCV could tell, which is not
        installed; names the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise ValueError(f"{path}: the file is empty")
    if path.suffix == ".npy":
        try:
            return np.load(io.BytesIO(content), allow_pickle=False)
        except Exception as error:  # a damaged header leads NumPy to errors of many kinds
            raise ValueError(f"{path}: is no array of pixels, or damaged ({error})") from error
    damage = file_damage(content)
    if damage:
        raise ValueError(f"{path}: {damage}; copy or download the file again")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it says of damaged files names none
    try:
        import cv2
    except ImportError:
        raise ValueError(
            f"{path}: save the pixels with numpy.save as a .npy file, or install opencv-python-headless"
        ) from None
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ValueError(f"{path}: cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ValueError(f"{path}: is no image, is damaged, or is of a kind that OpenCV does not read")
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1])


def write_npz(path: Path, arrays: dict[str, Any]) -> None:
    """Writes arrays so that the file is either whole or not there."""
    unfinished = path.with_name(f".{path.name}")
    try:
        np.savez_compressed(unfinished, **arrays)
        os.replace(unfinished, path)
    except OSError as error:  # that of a full disk has no name
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def main() -> None:
    """Reads the command line and writes what is found."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help=".npy files, or images")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    arguments = parser.parse_args()
    names = [path.stem for path in arguments.images]
    if len(set(names)) < len(names):
        sys.exit("error: two images have one name: run them apart, each with a folder of its own")
    failures = 0
    try:
        network = ExportedNetwork()
        arguments.out.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(names), network.batch_size):
            images = {}
            for path in arguments.images[start : start + network.batch_size]:
                try:
                    image = read_image(path)
                    network.check(image, str(path))
                except ValueError as error:
                    failures += 1
                    _print_error(error)
                else:
                    images[path] = image
            for path, objects in zip(images, network(list(images.values())), strict=True):
                write_npz(arguments.out / f"{path.stem}.npz", objects | {"class_names": np.array(network.class_names)})
                print(f"{arguments.out / path.stem}.npz: {len(objects['scores'])} objects", flush=True)
    except (ImportError, OSError, ValueError) as error:
        _print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    if failures:
        print(f"{len(names) - failures} of {len(names)} images were read")
        sys.exit(1)


def _print_error(error: Exception) -> None:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)


if __name__ == "__main__":
    main()
