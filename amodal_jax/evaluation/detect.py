"""What a network finds in batches of images, in COCO's results format.

Shape shorthand: B images of this process's batch, D detection slots, n of them taken, M mask cells a side.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.cli.cores import usable_cores
from amodal_jax.config import Config, EvaluationConfig
from amodal_jax.evaluation.annotated import Result
from amodal_jax.masks.paste import encode_masks
from amodal_jax.network import Network, Variables
from amodal_jax.structures import Batch, Detections

Results = dict[str, list[Result]]
"""By kind: "det", and "amodal" and "inmodal" where the network has the branch."""

ImageResults = tuple[int, Results]
"""The id of an image and what was found in it."""

_MOST_ENCODING = 256  # images whose masks wait for the threads, of which only what was found is kept


def detect_images(
    network: Network,
    variables: Variables,
    config: Config,
    batches: Iterable[Batch],
    ids: tuple[int, ...],
    count_images: Callable[[int], Any] = lambda images: None,
) -> Iterator[list[ImageResults]]:
    """Finds the objects in batches of images, each split over this process's devices.

    While the devices work on one batch, threads turn the masks of those before into run lengths.

    Args:
      network: the network.
      variables: its parameters.
      config: its `evaluation` section is read.
      batches: their size is a multiple of the number of this process's devices; images that are not `valid` are
        skipped.
      ids: the category id of each label.
      count_images: called with the number of images of each batch when the devices are done with it.

    Yields:
      For each batch the images that were finished since the one before, and once more those that were left when the
      batches ended, all in the order of the images.
    """
    devices = tuple(jax.local_devices())
    variables = jax.device_put(variables, NamedSharding(Mesh(np.array(devices), "batch"), PartitionSpec()))
    detect = _parallel_detect(network, devices)
    running: deque[tuple[Batch, Detections]] = deque()
    encoding: deque[Future[ImageResults]] = deque()

    def encode(batch: Batch, detections: Detections) -> None:
        host = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(detections))
        for index in np.flatnonzero(batch.valid):
            # A copy of the taken slots alone: most are empty, and a view would keep the whole batch.
            taken = host.valid[index]
            one = jax.tree.map(lambda x, index=index, taken=taken: x[index][taken], host)
            size = (int(batch.sizes[index, 0]), int(batch.sizes[index, 1]))
            encoding.append(pool.submit(results_of, one, int(batch.image_ids[index]), size))
        count_images(int(np.sum(batch.valid)))

    def results_of(one: Detections, image_id: int, size: tuple[int, int]) -> ImageResults:
        return image_id, image_results(one, image_id, size, ids, config.evaluation)

    def finished(most: int) -> list[ImageResults]:
        """Those that are ready, and if more than `most` are not, some that are waited for."""
        images = []
        while encoding and (len(encoding) > most or encoding[0].done()):
            images.append(encoding.popleft().result())
        return images

    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        for batch in batches:
            images, sizes = (x.reshape(len(devices), -1, *x.shape[1:]) for x in (batch.images, batch.sizes))
            running.append((batch, detect(variables, images, sizes)))
            if len(running) > 1:
                encode(*running.popleft())
            yield finished(_MOST_ENCODING)
        while running:
            encode(*running.popleft())
        yield finished(0)


def join_results(parts: Iterable[list[ImageResults]]) -> tuple[Results, list[int]]:
    """The results of all images by kind, and the ids of the images, both in the order of the images."""
    results: Results = {}
    image_ids: list[int] = []
    for part in parts:
        for image_id, found in part:
            image_ids.append(image_id)
            for kind, of_kind in found.items():
                results.setdefault(kind, []).extend(of_kind)
    return results, image_ids


def image_results(
    detections: Detections, image_id: int, image_size: tuple[int, int], ids: tuple[int, ...], settings: EvaluationConfig
) -> Results:
    """One image's detections (no batch axis, on the host) in COCO's results format, by kind.

    Args:
      detections: boxes [D, 4] in pixels of the image, masks [D, M, M].
      image_id: goes into the results.
      image_size: (height, width).
      ids: the category id of each label.
      settings: how masks come into the image.
    """
    slots = np.flatnonzero(detections.valid)
    boxes = np.asarray(detections.boxes)[slots]
    found = []
    for slot, (x1, y1, x2, y2) in zip(slots, boxes.tolist(), strict=True):
        found.append(
            {
                "image_id": image_id,
                "category_id": ids[detections.labels[slot]],
                "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": float(detections.scores[slot]),
            }
        )
        if detections.occluded is not None:
            found[-1]["occluded"] = float(detections.occluded[slot])
    results = {"det": found}
    for kind, masks in (("amodal", detections.amodal_masks), ("inmodal", detections.inmodal_masks)):
        if masks is not None:
            rles = encode_masks(
                np.asarray(masks)[slots], boxes, image_size, settings.mask_threshold, settings.mask_paste
            )
            results[kind] = [one | {"segmentation": rle} for one, rle in zip(found, rles, strict=True)]
    return results


@functools.lru_cache(maxsize=2)  # so that evaluations during training compile once
def _parallel_detect(network: Network, devices: tuple[jax.Device, ...]) -> Callable[..., Detections]:
    """`detect` with a leading device axis on images, sizes and detections.

    Naming this process's devices keeps it to itself: processes need not be in step.
    """
    return jax.pmap(functools.partial(network.apply, method="detect"), in_axes=(None, 0, 0), devices=devices)
