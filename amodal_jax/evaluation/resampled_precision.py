"""Average precision of a test set in which every image counts any number of times: what a bootstrap draws."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from pycocotools.cocoeval import COCOeval

_AT_ONCE = 64  # samples in memory together


@dataclasses.dataclass(frozen=True)
class _ClassMatches:
    """What COCOeval has matched of one class, detections of all images by descending score."""

    image: np.ndarray  # int [d], the place of each detection's image among the evaluation's
    true: np.ndarray  # bool [t, d], at each IoU threshold: matched with an instance that counts
    counted: np.ndarray  # bool [t, d]: not ignored, as what lies in a crowd is
    instances: np.ndarray  # int [i], instances that count in each image


class ResampledPrecision:
    """COCOeval's AP, the mean over classes and the ten IoU thresholds, as a function of how often each image counts.

    The matching is that of the evaluation that it is made of and is not done again. With every image once it is
    COCOeval's AP; with an image twice it is that of a test set which holds the image, its instances and its detections
    twice (up to the order of detections with equal scores in one image, which COCOeval leaves to chance). A class
    without an instance in the sample is left out, as COCOeval leaves it out.
    """

    def __init__(self, evaluation: COCOeval):
        """Takes an evaluation whose `evaluate` has been called."""
        parameters = evaluation.params
        self.image_ids: tuple[int, ...] = tuple(int(image) for image in parameters.imgIds)
        self._recalls = parameters.recThrs
        images, areas = len(parameters.imgIds), len(parameters.areaRng)
        self._classes = []
        for position in range(len(parameters.catIds)):
            first = position * areas * images  # areas of all sizes come first
            matches = _of_class(evaluation.evalImgs[first : first + images], parameters.maxDets[-1])
            if matches is not None:
                self._classes.append(matches)

    def __call__(self, counts: Int[np.ndarray, "samples images"]) -> Float[np.ndarray, " samples"]:
        """The AP of each sample, within [0, 1]; NaN of one without any instance.

        Args:
          counts: how often each image is in each sample, images in the order of `image_ids`.
        """
        return np.concatenate([self._of(counts[start : start + _AT_ONCE]) for start in range(0, len(counts), _AT_ONCE)])

    def _of(self, counts: np.ndarray) -> np.ndarray:
        total, classes = np.zeros(len(counts)), np.zeros(len(counts), int)
        for matches in self._classes:
            instances = counts @ matches.instances
            here = instances > 0
            total[here] += _precisions(matches, counts[here], instances[here], self._recalls)
            classes += here
        return np.divide(total, classes, out=np.full(len(counts), np.nan), where=classes > 0)


def _of_class(images: list, most: int) -> _ClassMatches | None:
    """The matches of one class in all images; None where no image has an instance or a detection of it."""
    found = [(place, one) for place, one in enumerate(images) if one is not None]
    if not found:
        return None
    instances = np.zeros(len(images), int)
    for place, one in found:
        instances[place] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
    scores = np.concatenate([np.asarray(one["dtScores"][:most], float) for _, one in found])
    order = np.argsort(-scores, kind="mergesort")  # as COCOeval has them
    image = np.concatenate([np.full(len(one["dtScores"][:most]), place) for place, one in found])[order]
    matched = np.concatenate([one["dtMatches"][:, :most] for _, one in found], axis=1)[:, order] > 0
    ignored = np.concatenate([one["dtIgnore"][:, :most] for _, one in found], axis=1)[:, order].astype(bool)
    return _ClassMatches(image, matched & ~ignored, ~ignored, instances)


def _precisions(matches: _ClassMatches, counts: np.ndarray, instances: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """A class' AP in each sample [s]: its precision at each recall threshold, in the mean over those and the IoUs.

    Recall rises at true detections alone, and the precision at a recall is the best at that or any higher one, so that
    nothing but the true detections has to be looked at.
    """
    weights = counts[:, matches.image].astype(float)
    total = np.zeros(len(counts))
    for true, counted in zip(matches.true, matches.counted, strict=True):
        places = np.flatnonzero(true)
        if not len(places):
            continue
        found = np.cumsum(weights[:, places], axis=1)
        of_all = np.cumsum(weights * counted, axis=1)[:, places]
        precision = np.divide(found, of_all, out=np.zeros_like(found), where=of_all > 0)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # As many recall thresholds are reached first at a detection as are under its recall and not under the last's.
        reached = np.searchsorted(recalls, found / instances[:, None], side="right")
        total += (np.diff(reached, axis=1, prepend=0) * best).sum(1)
    return total / (len(recalls) * len(matches.true))
