"""Draws the dummy data of the builder's test: `python -m data.kins.make_dummy_data`.

Small pictures of plain rectangles, annotated in the form of either release. A nearer rectangle hides the right part of
a farther one, so that amodal and inmodal masks are both rectangles with corners on whole pixels, which polygons and
run-length codes give alike.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from amodal_jax.masks import segmentation
from data.kins.categories import CATEGORY_IDS, RIDER_ID, RIDER_NAME, SUPERCATEGORIES
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS, SPLITS

FOLDER = Path(__file__).parent / "dummy_data"
WIDTH, HEIGHT = 96, 48
IMAGES = {"train": 3, "test": 2}


def main() -> None:
    for seed, split in enumerate(SPLITS):
        scenes = [_scene(np.random.default_rng([seed, index])) for index in range(IMAGES[split])]
        folder = FOLDER / IMAGE_FOLDERS[split]
        folder.mkdir(parents=True, exist_ok=True)
        for index, scene in enumerate(scenes):
            cv2.imwrite(str(folder / f"{index:06d}.png"), _picture(scene))
        for release in ANNOTATION_FILES:
            path = FOLDER / ANNOTATION_FILES[release][split]
            path.write_text(json.dumps(_annotation_file(scenes, release)) + "\n")


def _scene(random: np.random.Generator) -> list[dict]:
    """A pair, of which the first hides part of the second, and one rectangle alone: [x1, y1, x2, y2] each."""
    top, left, hidden = random.integers(2, 10), random.integers(12, 20), random.integers(3, 9)
    near = [left, top + 4, left + 20, top + 28]
    far = [left - 10, top + 8, left + hidden, top + 20]
    alone = [60, top + 6, 60 + random.integers(8, 20), top + 30]
    names = random.choice(list(CATEGORY_IDS), 3)
    return [
        {"class": str(names[0]), "amodal": near, "inmodal": near, "cluster": 1, "order": 1},
        {"class": str(names[1]), "amodal": far, "inmodal": [*far[:2], left, far[3]], "cluster": 1, "order": 2},
        {"class": str(names[2]), "amodal": alone, "inmodal": alone, "cluster": 2, "order": 0},
    ]


def _picture(scene: list[dict]) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for index, instance in enumerate(scene):
        x1, y1, x2, y2 = instance["inmodal"]
        picture[y1:y2, x1:x2] = (60 + 70 * index, 200 - 60 * index, 20 * len(instance["class"]))
    return picture


def _annotation_file(scenes: list[list[dict]], release: str) -> dict:
    annotations = []
    for image_id, scene in enumerate(scenes):
        for instance in scene:
            common = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": CATEGORY_IDS[instance["class"]],
            }
            amodal, inmodal = instance["amodal"], instance["inmodal"]
            if release == "2019":
                fields = {
                    "bbox": _xywh(amodal),
                    "segmentation": [_polygon(amodal)],
                    "inmodal_bbox": _xywh(inmodal),
                    "inmodal_seg": segmentation.encode(_mask(inmodal)),
                    "area": _area(amodal),
                    "iscrowd": 0,
                }
            else:
                fields = {
                    "a_bbox": _xywh(amodal),
                    "a_segm": [_polygon(amodal)],
                    "a_area": _area(amodal),
                    "i_bbox": _xywh(inmodal),
                    "i_segm": [_polygon(inmodal)],
                    "i_area": _area(inmodal),
                    "oco_id": instance["cluster"],
                    "ico_id": instance["order"],
                }
            annotations.append({**common, **fields})
    categories = [
        {"id": id_, "name": name, "supercategory": SUPERCATEGORIES[name]} for name, id_ in CATEGORY_IDS.items()
    ]
    if release == "2020":
        categories.insert(2, {"name": RIDER_NAME, "id": RIDER_ID, "supercategory": "Living Thing"})
    images = [
        {"id": index, "file_name": f"{index:06d}.png", "width": WIDTH, "height": HEIGHT} for index in range(len(scenes))
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def _xywh(box: list[int]) -> list[int]:
    return [int(box[0]), int(box[1]), int(box[2] - box[0]), int(box[3] - box[1])]


def _area(box: list[int]) -> int:
    return int((box[2] - box[0]) * (box[3] - box[1]))


def _polygon(box: list[int]) -> list[int]:
    x1, y1, x2, y2 = (int(edge) for edge in box)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def _mask(box: list[int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


if __name__ == "__main__":
    main()
