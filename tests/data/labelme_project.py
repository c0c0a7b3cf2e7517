"""Small labelme projects, as several tests write them."""

import json

import numpy as np

from data.kins.layout import ANNOTATION_FILES
from data.labelme.convert import convert

HEIGHT, WIDTH = 30, 40


def box(x1, y1, x2, y2):
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def mask_of(x1, y1, x2, y2):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def shape(label, points, description="", group=None, visible=None, kind="polygon", **other):
    flags = {} if visible is None else {"visible": visible}
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": description,
        "shape_type": kind,
        "flags": flags,
        "mask": None,
        **other,
    }


CAR = shape("car", box(10, 5, 30, 15), "2")
VAN = shape("van", box(5, 2, 15, 20), "order 1")
ALONE = shape("pedestrian", box(32, 20, 38, 26))


def content(shapes, image="../images/000001.png"):
    return {
        "version": "6.0.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def converted(folder, **options):
    """The annotations of a project in which every image is in both splits."""
    out = folder.parent / "out"
    convert(folder, out, **{"test_fraction": None, **options})
    return json.loads((out / ANNOTATION_FILES["2020"]["train"]).read_text())["annotations"]
