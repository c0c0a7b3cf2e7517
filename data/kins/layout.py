"""Where the files of KINS and KITTI lie in the folder that a dataset is built from, and how to get them."""

from pathlib import Path

SPLITS = ("train", "test")

ANNOTATION_FILES = {
    "2020": {"train": "update_train_2020.json", "test": "update_test_2020.json"},
    "2019": {"train": "instances_train.json", "test": "instances_val.json"},
}
IMAGE_FOLDERS = {"train": Path("training/image_2"), "test": Path("testing/image_2")}

INSTRUCTIONS = """\
KINS annotates the images of KITTI's object detection benchmark; both have to be fetched by hand:
1. KITTI, https://www.cvlibs.net/datasets/kitti/eval_object.php?obj_benchmark=2d : register, take "left color images of
   object data set" (12 GB) and unpack it in DIR, which gives DIR/training/image_2 and DIR/testing/image_2.
2. KINS, https://github.com/qqlu/Amodal-Instance-Segmentation-through-KINS-Dataset : follow its download link and put
   update_train_2020.json and update_test_2020.json (the release of 2020), or instances_train.json and
   instances_val.json (2019), in DIR or DIR/annotations.
Then run: python scripts/build_dataset.py kins --manual-dir DIR"""
