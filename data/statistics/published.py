"""What the KINS paper reports about its dataset in section 3, to be set beside the figures of other annotations."""

IMAGES = {"train": 7474, "test": 7517}
# Section 3.2; the 190 626 instances of Table 1 are 12.72 an image, and section 3.3 says 12.74.
INSTANCES_PER_IMAGE = 12.53
POLYGON_POINTS_PER_INSTANCE = 33.70
COVERED_SHARE = 0.083
OCCLUDED_SHARE = 0.536
# Over which instances, the paper does not say.
MEAN_OCCLUSION_RATIO = 0.317
# Table 1 without `person-sitting`, which has 2 250 instances there and none in the released files.
CLASSES = {
    "cyclist": 5120,
    "pedestrian": 20134,
    "car": 129164,
    "tram": 2074,
    "truck": 1756,
    "van": 11306,
    "misc": 18822,
}
# Table 2.
AMODAL_SIMPLICITY, INMODAL_SIMPLICITY = 0.830, 0.709
AMODAL_CONVEXITY, INMODAL_CONVEXITY = 0.639, 0.610
SHARE_OF_CLUSTERS_OVER_ORDER_6 = 0.0154
SHARE_OF_IMAGES_OVER_065 = 0.7834
KITTI_OBJECTS_PER_IMAGE, INSTANCES_PER_IMAGE_BESIDE_KITTI = 6.93, 12.74


def class_share(name: str) -> float | None:
    """The share of a class among the instances of the released classes; None for a class that KINS has not."""
    return CLASSES[name] / sum(CLASSES.values()) if name in CLASSES else None
