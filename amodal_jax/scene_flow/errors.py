"""The share of pixels whose disparity, flow or scene flow is wrong: D1, D2, Fl and SF of KITTI's benchmark of 2015.

As the benchmark's development kit counts (`evaluate_scene_flow.cpp`): a value is wrong when it is more than 3 pixels
and more than 5 % off. Missing values are interpolated before that. Scene flow is wrong where either disparity or the
flow is. Shares are of all pixels of all images, and not the mean over images.
"""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from amodal_jax.errors import DataError
from amodal_jax.files.visible_files import visible_files
from amodal_jax.scene_flow.maps import Map, filled, read_disparity, read_flow, read_foreground

RESULT_FOLDERS = {"D1": "disp_0", "D2": "disp_1", "Fl": "flow"}
"""What of a method's results is for which error: the disparity of the first image, that of the second one at the
pixels of the first, and the flow."""
ERRORS = (*RESULT_FOLDERS, "SF")
REGIONS = ("background", "foreground", "all")

_PIXELS = 3.0
_SHARE = np.float64(0.05)  # compared with float32 quotients, as the development kit does


@dataclasses.dataclass
class ErrorCount:
    """Wrong pixels among those that have a true value, by region."""

    wrong: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(REGIONS, 0))
    pixels: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(REGIONS, 0))
    given: int = 0
    """Pixels with a true value for which the method has given one, none interpolated."""

    def add(
        self,
        wrong: Bool[np.ndarray, "H W"],
        counted: Bool[np.ndarray, "H W"],
        foreground: Bool[np.ndarray, "H W"],
        given: Bool[np.ndarray, "H W"],
    ) -> None:
        """Counts an image."""
        for region, inside in zip(REGIONS, (~foreground, foreground, np.ones_like(foreground)), strict=True):
            self.pixels[region] += int(np.count_nonzero(counted & inside))
            self.wrong[region] += int(np.count_nonzero(wrong & counted & inside))
        self.given += int(np.count_nonzero(counted & given))

    def share(self, region: str) -> float | None:
        """The share that is wrong, within [0, 1]; None where there is no pixel."""
        return self.wrong[region] / self.pixels[region] if self.pixels[region] else None


def outliers(estimated: Map, true: Map) -> Bool[np.ndarray, "H W"]:
    """Which pixels are wrong; it means nothing where there is no true value."""
    distance, size = (np.sqrt((x**2).sum(axis=2)) for x in (filled(estimated) - true.values, true.values))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (distance > _PIXELS) & (distance / size > _SHARE)


def scene_flow_errors(
    results: Path, truth: Path, *, occluded: bool = True, count_images: Callable[[Iterable[str]], Iterable[str]] = iter
) -> tuple[dict[str, ErrorCount], int]:
    """Counts the wrong pixels of a method's results.

    Args:
      results: the folder of its maps, `disp_0`, `disp_1` and `flow` in it, or some of them, with a PNG for each image.
        What is there is measured, on the images that it is of, for which all of them have to be there.
      truth: KITTI's folder `training` of the scene-flow data of 2015, with `disp_occ_0`, `disp_occ_1`, `flow_occ` (or
        `_noc_`) and `obj_map`.
      occluded: count the pixels that the other images do not show, too.
      count_images: called with the names of the images, to go through them.

    Returns:
      The counts of D1, D2, Fl and SF, as far as there are results for them, and the number of images.

    Raises:
      DataError: there are no results, an image lacks one of the maps, or a map cannot be read or is of another size.
    """
    names = {error: _names(results / folder) for error, folder in RESULT_FOLDERS.items()}
    there = {error: found for error, found in names.items() if found}
    if not there:
        raise DataError(f"{results}: has no maps in {', '.join(RESULT_FOLDERS.values())}; name the folder they are in")
    images = sorted(set().union(*there.values()))
    for error, found in there.items():
        missing = sorted(set(images) - found)
        if missing:
            folder = results / RESULT_FOLDERS[error]
            raise DataError(f"{folder}: has no {missing[0]}, which other folders have ({len(missing)} such images)")
    counts = {error: ErrorCount() for error in ERRORS if error in there or len(there) == len(RESULT_FOLDERS)}
    kind = "occ" if occluded else "noc"
    for name in count_images(images):
        foreground = read_foreground(truth / "obj_map" / name)
        wrong = np.zeros_like(foreground)
        counted = np.ones_like(foreground)
        given = np.zeros_like(foreground)
        for error in there:
            estimated = _read(results / RESULT_FOLDERS[error] / name, error)
            true = _read(truth / _truth_folder(error, kind) / name, error)
            _check_sizes(results / RESULT_FOLDERS[error] / name, estimated, true, foreground)
            here = outliers(estimated, true)
            counts[error].add(here, true.valid, foreground, estimated.valid)
            wrong |= here
            counted &= true.valid
            if error == "D1":  # where scene flow counts as given, too, in the development kit
                given = estimated.valid
        if "SF" in counts:
            counts["SF"].add(wrong, counted, foreground, given)
    return counts, len(images)


def _names(folder: Path) -> set[str]:
    return {path.name for path in visible_files(folder, {".png"})}


def _truth_folder(error: str, kind: str) -> str:
    """`disp_occ_0` of `disp_0`, `flow_occ` of `flow`."""
    name, _, number = RESULT_FOLDERS[error].partition("_")
    return "_".join(filter(None, (name, kind, number)))


def _read(path: Path, error: str) -> Map:
    return read_flow(path) if error == "Fl" else read_disparity(path)


def _check_sizes(path: Path, estimated: Map, true: Map, foreground: np.ndarray) -> None:
    if not estimated.valid.shape == true.valid.shape == foreground.shape:
        sizes = [f"{one.shape[1]} x {one.shape[0]}" for one in (estimated.valid, true.valid, foreground)]
        raise DataError(f"{path}: has {sizes[0]} pixels, its ground truth {sizes[1]} and its object map {sizes[2]}")


def format_errors(counts: dict[str, ErrorCount], images: int) -> str:
    """The counts as the benchmark's table, in per cent; "-" where there is no pixel."""
    lines = [f"{'%':<12}" + "".join(f"{error:>8}" for error in counts)]
    for region in REGIONS:
        shares = [count.share(region) for count in counts.values()]
        lines.append(f"{region:<12}" + "".join("       -" if one is None else f"{100 * one:8.2f}" for one in shares))
    densities = [count.given / count.pixels["all"] if count.pixels["all"] else None for count in counts.values()]
    lines.append(f"{'given':<12}" + "".join("       -" if one is None else f"{100 * one:8.2f}" for one in densities))
    lines.append(f"{images} images")
    return "\n".join(lines)
