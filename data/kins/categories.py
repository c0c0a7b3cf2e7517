"""The categories of KINS and the ids that its files give them."""

from amodal_jax.classes import KINS_CLASS_NAMES

# Id 3 (`rider`) stands in the 2020 files' list without a single instance, and not at all in the 2019 files.
CATEGORY_IDS = dict(zip(KINS_CLASS_NAMES, (1, 2, 4, 5, 6, 7, 8), strict=True))
RIDER_NAME, RIDER_ID = "rider", 3

SUPERCATEGORIES = {
    name: "Living Thing" if name in ("cyclist", "pedestrian") else "vehicles" for name in KINS_CLASS_NAMES
}
