"""Small files and folders in the place of those that the documents name: KINS, runs/asn, my_images and so on."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import cv2
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.classes import KINS_CLASS_NAMES
from amodal_jax.export import export_network
from amodal_jax.network import build_network, initialise
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_reader import load_checkpoint
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from amodal_jax.runs.directory import write_config
from amodal_jax.weights.layouts import torchvision
from data.kins.layout import ANNOTATION_FILES, IMAGE_FOLDERS
from tests.helpers.documents import ROOT
from tests.helpers.micro import micro_config
from tests.helpers.seeded_weights import seeded_weight
from tests.helpers.tiny_scenes import build_tiny_dataset
from tests.weights import test_torch_file as pytorch

TRAIN, TEST = (ANNOTATION_FILES["2020"][split] for split in ("train", "test"))
MANY = 20
HEIGHT, WIDTH = 60, 90  # of images; objects are rectangles in them
FAR, NEAR = (10, 10, 60, 40), (40, 20, 80, 50)
CALIBRATION = "P2: 180 0 152 11 0 180 43 0.05 0 0 1 0.003\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
CAR = "Car 0.00 0 -1.57 140 40 165 60 1.5 1.7 4.0 0.0 1.65 12.0 -1.57\n"


class StandIns:
    """Makes each at a place; what takes long, and is copied there, is made once."""

    def __init__(self, folder: Path):
        self._folder = folder

    @functools.cached_property
    def _dataset(self) -> Path:
        return build_tiny_dataset(self._folder / "tiny")

    @functools.cached_property
    def _run(self) -> Path:
        config = micro_config()
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, directory=str(self._dataset)))
        everywhere = NamedSharding(Mesh(np.array(jax.local_devices()), "batch"), PartitionSpec())
        variables = initialise(build_network(config), config, jax.random.key(0))
        variables, state = jax.device_put((variables, {"count": np.zeros(1, np.float32)}), everywhere)
        folder = self._folder / "run"
        for kind in ("last", "best"):
            writer = CheckpointWriter(folder, kind, config)
            writer.save(Checkpoint(4, variables, state, None, {"amodal/AP": 0.5}))
            writer.close()
        write_config(folder, config)
        lines = [{"step": step, "loss": 1 / step, "amodal/AP50": step / 10} for step in (1, 2, 4)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    @functools.cached_property
    def _export(self) -> Path:
        config, variables, step = load_checkpoint(self._run)
        export_network(config, variables, step, self._folder / "exported", platforms=["cpu"])
        return self._folder / "exported"

    @functools.cached_property
    def _weights(self) -> dict[str, np.ndarray]:
        """Of torchvision's smallest network."""
        shapes = {
            name: shape for one in torchvision.LAYOUTS[0].sources(0).values() for name, shape in one.reads.items()
        }
        return {name: seeded_weight(name, shape) for name, shape in shapes.items()}

    # ----- what can stand for something in a document

    def built_dataset(self, place: Path) -> None:
        """The folder of a dataset that is built, or of its versions."""
        shutil.copytree(self._dataset if place.name == self._dataset.name else self._dataset.parent, place)

    def run(self, place: Path) -> None:
        """A training's directory, with a last and a best checkpoint and a log."""
        shutil.copytree(self._run, place)

    def exported(self, place: Path) -> None:
        """An exported network."""
        shutil.copytree(self._export, place)

    def scenes(self, place: Path) -> None:
        """Images and annotations in KINS' form of 2020."""
        shutil.copytree(self._dataset.parents[2] / "scenes", place)

    def scenes_with_a_fault(self, place: Path) -> None:
        """The same, with a box that is not its mask's."""
        self.scenes(place)
        content = json.loads((place / TRAIN).read_text())
        content["annotations"][0]["a_bbox"] = [0, 0, 3, 3]
        (place / TRAIN).write_text(json.dumps(content))

    def annotators(self, place: Path) -> None:
        """Scenes that three have annotated."""
        for name in ("anna", "ben", "cleo"):
            self.scenes(place / name)

    def annotations(self, place: Path) -> None:
        """An annotation file of 2020."""
        shutil.copy(self._dataset.parents[2] / "scenes" / TRAIN, place)

    def release_of_2019(self, place: Path) -> None:
        """A folder of the annotations and images of 2019 alone."""
        source = ROOT / "data" / "kins" / "dummy_data"
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("update_*"))

    def results(self, place: Path) -> None:
        """The ground truth of the test split as the results of a tool, of either kind of masks."""
        annotations = json.loads((self._dataset.parents[2] / "scenes" / TEST).read_text())["annotations"]
        found = [
            {
                "image_id": one["image_id"],
                "category_id": one["category_id"],
                "bbox": one["a_bbox"],
                "score": 0.5,
                "segmentation": one["i_segm" if place.name.startswith("i") else "a_segm"],
            }
            for one in annotations
        ]
        place.write_text(json.dumps(found))

    def images(self, place: Path, count: int = 2) -> None:
        """A folder of images."""
        place.mkdir(parents=True)
        for number in range(count):
            self.image(place / f"{number:06d}.png")

    def many_images(self, place: Path) -> None:
        """A folder of so many that a fifth is at least one, whatever their names' hashes are."""
        self.images(place, MANY)

    def image(self, place: Path) -> None:
        """One image, in a file of any kind."""
        pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        if place.suffix == ".npy":
            np.save(place, pixels)
        else:
            cv2.imwrite(str(place), pixels)

    def weights(self, place: Path) -> None:
        """A file of another framework's weights: in NumPy's form, or PyTorch's for a name that says so."""
        if place.suffix != ".pth":
            with place.open("wb") as file:
                np.savez(file, **self._weights)
            return
        tensors, storages = {}, []
        for key, (name, array) in enumerate(self._weights.items()):
            strides = tuple(stride // array.itemsize for stride in array.strides)
            storage = pytorch.storage(key=str(key), count=array.size)
            tensors[name] = pytorch.tensor(storage, shape=array.shape, strides=strides)
            storages.append(array.tobytes())
        pytorch.new_file(place, pytorch.weights(**tensors), *storages)

    def cocoa(self, place: Path) -> None:
        """COCO-Amodal, a json file beside each image, or for a file's name that of all images as it is released."""
        regions = [
            {"name": name, "order": order, "isStuff": 0, "segmentation": _corners(*box), "occlude_rate": 0}
            for order, (name, box) in enumerate((("dougnut ", NEAR), ("board", FAR)), start=1)
        ]
        if place.suffix == ".json":
            images = [{"id": number, "file_name": f"{number:06d}.png"} for number in range(MANY)]
            annotations = [{"id": n, "image_id": n, "author": "anna", "regions": regions} for n in range(MANY)]
            place.write_text(json.dumps({"images": images, "annotations": annotations}))
            return
        self.many_images(place)
        for path in place.glob("*.png"):
            path.with_suffix(".json").write_text(json.dumps({"image_id": int(path.stem), "regions": regions}))

    def d2sa(self, place: Path) -> None:
        """D2SA's json, for one of the two images each."""
        number = int(place.name.startswith("validation"))
        amodal, visible = _corners(*FAR), _corners(10, 10, 40, 40)
        content = {
            "images": [{"id": number, "file_name": f"{number:06d}.png", "width": WIDTH, "height": HEIGHT}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": [amodal],
                    "visible_mask": [visible],
                    "bbox": [10, 10, 50, 30],
                    "area": 1500,
                    "iscrowd": 0,
                }
            ],
            "categories": [{"id": 1, "name": "box"}],
        }
        place.write_text(json.dumps(content))

    def labelme(self, place: Path) -> None:
        """A project of labelme's, the images beside their json files."""
        place.mkdir()
        for number in range(6):
            self.image(place / f"{number:06d}.png")
            shapes = [
                {
                    "label": "car",
                    "points": np.reshape(_corners(*box), (4, 2)).tolist(),
                    "group_id": None,
                    "description": f"order {order}",
                    "shape_type": "polygon",
                    "flags": {},
                }
                for order, box in enumerate((NEAR, FAR), start=1)
            ]
            content = {"version": "6.0.0", "flags": {}, "shapes": shapes, "imagePath": f"{number:06d}.png"}
            content |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
            (place / f"{number:06d}.json").write_text(json.dumps(content))

    def labels(self, place: Path) -> None:
        """labelme's list of classes."""
        place.write_text("".join(f"{name}\n" for name in KINS_CLASS_NAMES))

    def kitti(self, place: Path) -> None:
        """KITTI's images with labels and calibration."""
        for number in range(6):
            image = place / IMAGE_FOLDERS["train"] / f"{number:06d}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), np.full((94, 310, 3), number, np.uint8))
            for name, text in (("label_2", CAR), ("calib", CALIBRATION)):
                path = place / "training" / name / f"{number:06d}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def kitti_labels(self, place: Path) -> None:
        """KITTI's labels of the images of `scenes`."""
        place.mkdir()
        for image in (self._dataset.parents[2] / "scenes" / IMAGE_FOLDERS["train"]).iterdir():
            (place / f"{image.stem}.txt").write_text(CAR)


def _corners(x1: int, y1: int, x2: int, y2: int) -> list[int]:
    return [x1, y1, x2, y1, x2, y2, x1, y2]
