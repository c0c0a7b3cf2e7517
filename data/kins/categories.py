"""The categories of KINS and the ids that its files give them."""

# Id 3 (`rider`) stands in the 2020 files' list without a single instance, and not at all in the 2019 files.
CATEGORY_IDS = {"cyclist": 1, "pedestrian": 2, "car": 4, "tram": 5, "truck": 6, "van": 7, "misc": 8}
RIDER_NAME, RIDER_ID = "rider", 3
CLASS_NAMES = tuple(CATEGORY_IDS)

SUPERCATEGORIES = {name: "Living Thing" if name in ("cyclist", "pedestrian") else "vehicles" for name in CLASS_NAMES}
