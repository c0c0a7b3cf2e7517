"""The classes of the datasets that are met here by name: KINS' own, and COCO's, which published detectors know."""

from collections.abc import Mapping

KINS_CLASS_NAMES = ("cyclist", "pedestrian", "car", "tram", "truck", "van", "misc")
"""KINS' classes in the order of their labels."""

_COCO_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard"),
    *("cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors"),
    *("teddy bear", "hair drier", "toothbrush"),
)
_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)

COCO_CATEGORIES = dict(zip((number for number in range(1, 91) if number not in _UNUSED_IDS), _COCO_NAMES, strict=True))
"""The 80 classes by their ids in COCO's annotations, which leave ten numbers out."""

# The classes that start one of another name, best first: COCO's and Cityscapes' names for KINS', and back. No class
# starts two, because two that start as one have to be told apart first.
SIMILAR_CLASSES: Mapping[str, tuple[str, ...]] = {
    "pedestrian": ("person",),
    # A cyclist is drawn with the bicycle, which is what sets him apart from a pedestrian.
    "cyclist": ("rider", "bicycle"),
    "tram": ("train",),
    # Detectors without vans call them cars or trucks, which start those; buses are shaped like them and left over.
    "van": ("bus",),
    "person": ("pedestrian",),
    "rider": ("cyclist",),
    "bicycle": ("cyclist",),
    "train": ("tram",),
    "bus": ("van",),
}
