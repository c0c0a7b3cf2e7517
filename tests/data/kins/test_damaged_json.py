"""Damaged json to every reader: it ends in the project's own error or a correct result, soon and in little memory."""

import argparse
import base64
import contextlib
import copy
import io
import json
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amodal_jax.errors import AmodalJaxError, DataError
from amodal_jax.evaluation.annotated import AnnotatedImages
from amodal_jax.evaluation.results_files import read_results
from amodal_jax.masks import segmentation
from data.browse import command as browse
from data.check import command as check
from data.cocoa import command as from_cocoa
from data.cocoa.annotation_files import find_annotations
from data.cocoa.convert import read_regions
from data.d2sa import command as from_d2sa
from data.exports import command_coco as to_coco
from data.exports import command_kitti_instances as to_kitti_instances
from data.kins.annotations import KEYS, read_annotation_file
from data.kins.instances import read_instance
from data.kins.layout import ANNOTATION_FILES
from data.kins.records import RecordMaker
from data.labelme import command as from_labelme
from data.labelme.shapes import read_labelled_image
from data.orders import command as orders
from data.orders import command_inmodal as inmodal
from data.statistics import command as statistics
from data.vote import command as vote

EXAMPLES = int(os.environ.get("AMODAL_JAX_FUZZ_EXAMPLES", "30"))  # of each command; more of them for a longer search
SECONDS = 5.0  # of processor time for one file, which other work on the machine does not use up
MEMORY = 700_000_000  # bytes of address space on top of what the process has when a test begins

DUMMY_DATA = Path(__file__).parents[3] / "data" / "kins" / "dummy_data"
IMAGES = DUMMY_DATA / "training" / "image_2"
HEIGHT, WIDTH = 48, 96

DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]

# In place of any value.
POISON = [
    None,
    True,
    False,
    0,
    -1,
    3,
    1.5,
    10**9,
    65_535,
    2**31,
    2**32,
    2**62,
    2**63,
    10**400,
    -(10**400),
    1e308,
    -1e308,
    1e5,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "7",
    "0",
    "car",
    "a\x00b",
    "\x1b[2J\n",
    "\ud800",
    "x" * 5000,
    "../../outside.png",
    "/etc/passwd",
    "..",
    "C:\\x\\..\\000000.png",
    "é\u202e.png",
    [],
    {},
    [[]],
    [{}],
    [None, "a", 1],
    DEEP,
    [1e5, 1e5, -1e5, 1e5] * 100,
    [[1e5, -1e5, -1e5, 1e5] * 100] * 2,
    [2**62, 2**62, 2**62, 2**62],
    [2**64, 1],
    [10**400] * 6,
    [float("nan")] * 6,
    {"size": [HEIGHT, WIDTH], "counts": [2**62, 2**62, 2**62, 2**62 + HEIGHT * WIDTH]},
    {"size": [HEIGHT, WIDTH], "counts": [-5, HEIGHT * WIDTH + 5]},
    {"size": [HEIGHT, WIDTH], "counts": [0.5, float("nan")]},
    {"size": [HEIGHT, WIDTH], "counts": "oooooooooooooooooooooooooooo0"},
    {"size": [10**9, 10**9], "counts": [10**18]},
    {"size": [10**9, 10**9], "counts": "0" * 30},
    {"size": DEEP, "counts": DEEP},
    {"size": "ab", "counts": "é"},
]


def places(content: Any) -> list[tuple]:
    """The paths of all values of a json content, the content itself left out."""
    found = []
    waiting: list[tuple[tuple, Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            found.append((*path, key))
            waiting.append(((*path, key), inner))
    return sorted(found, key=repr)


@st.composite
def damages(draw) -> Callable[[Any], bytes]:
    """Ways to write a content: with some of its values replaced, gone or twice, or with the text itself damaged."""
    picks = st.tuples(st.integers(0, 10**6), st.sampled_from(["replace", "delete", "double"]), st.sampled_from(POISON))
    edits = draw(st.lists(picks, max_size=3))
    text_edit = draw(st.sampled_from(["none", "none", "none", "cut", "byte", "repeat key", "nest", "prefix"]))
    where = draw(st.integers(0, 10**6))

    def damage(content: Any) -> bytes:
        content = json.loads(json.dumps(content))
        for number, kind, poison in edits:
            paths = places(content)
            if not paths:
                break
            *way, last = paths[number % len(paths)]
            holder = content
            for key in way:
                holder = holder[key]
            if kind == "replace":
                holder[last] = copy.deepcopy(poison)
            elif kind == "delete":
                del holder[last]
            elif isinstance(holder, list):
                holder.insert(last, copy.deepcopy(holder[last]))
        text = json.dumps(content).encode()
        place = where % (len(text) + 1)
        if text_edit == "cut":
            text = text[:place]
        elif text_edit == "byte":
            text = text[:place] + bytes([where % 256]) + text[place + 1 :]
        elif text_edit == "repeat key":
            text = text.replace(b'"', b'"id": 1, "id": 2, "', 1)
        elif text_edit == "nest":
            text = text[:place] + b"[" * 100_000 + text[place:]
        elif text_edit == "prefix":
            text = b"\xef\xbb\xbf" + text
        return text

    return damage


class Hang(BaseException):
    """A case that took too long; no error that a reader could catch."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Little time and memory: too much of either ends in an exception that is none of the project's errors."""

    def stop(number, frame):
        raise Hang(f"over {SECONDS} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    usual = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, usual)


def command(module, *words: object) -> None:
    """Runs a command; what it prints has to be text that a terminal takes."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    arguments = parser.parse_args([str(word) for word in words])
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        module.run(arguments)
    printed.flush()
    # No line may be able to steer a terminal.
    text = printed.buffer.getvalue().decode()
    assert all(line.isprintable() for line in text.split("\n"))


def check_annotation_file(path: Path) -> None:
    """What was written is a good file: nothing in it is left out, and its masks fit their images."""
    file = read_annotation_file(path)
    assert file.release == "2020"
    for image in file.images:
        for annotation in image.annotations:
            instance, _ = read_instance(annotation, KEYS["2020"], image.height, image.width)
            assert instance is not None
            assert 0 <= instance.visible_area <= segmentation.area(instance.amodal) <= image.height * image.width
            assert 0 <= instance.occlusion_ratio <= 1


def kins_tools(folder: Path, file: Path) -> None:
    """Everything that reads an annotation file, and the builder's reader."""
    with contextlib.suppress(DataError):  # no json object
        command(check, file, "--fix", folder / "fixed.json", "--json", folder / "found.json", "--workers", 1)
        json.loads((folder / "fixed.json").read_text())
    with contextlib.suppress(AmodalJaxError):
        command(browse, file, "--out", folder / "page", "--images", IMAGES, "--workers", 1)
    read = read_annotation_file(file)
    maker = RecordMaker(read.release, dict.fromkeys(read.categories, 0), IMAGES)
    for image in read.images:
        with contextlib.suppress(AmodalJaxError):
            maker(image)
    with contextlib.suppress(AmodalJaxError):
        command(statistics, file, "--json", folder / "statistics.json", "--workers", 1)
    for module, options in (
        (orders, ("--json", folder / "report.json")),
        (inmodal, ()),
        (to_coco, ("--masks", "amodal")),
        (to_coco, ("--masks", "inmodal")),
        (to_kitti_instances, ()),
        (to_kitti_instances, ("--class-ids", "own")),
    ):
        out = folder / f"{module.__name__}{len(list(folder.iterdir()))}"
        words = (file, "--out", out, *options, "--workers", 1)
        try:
            command(module, *words)
        except AmodalJaxError:
            assert not out.exists()
        else:
            if module in (orders, inmodal):
                with contextlib.suppress(AmodalJaxError):  # nothing left in it
                    check_annotation_file(out)


def kins_content(release: str) -> dict:
    content = json.loads((DUMMY_DATA / ANNOTATION_FILES[release]["train"]).read_text())
    content["images"], content["annotations"] = content["images"][:1], content["annotations"][:3]
    return content


def kins(release: str) -> Callable[[Path, Callable], None]:
    content = kins_content(release)

    def run(folder: Path, damage: Callable[[Any], bytes]) -> None:
        file = folder / "damaged.json"
        file.write_bytes(damage(content))
        kins_tools(folder, file)

    return run


def convert(module, source: Path, folder: Path, *options: object) -> None:
    before = set(folder.rglob("*"))
    out = folder / "out"
    try:
        command(module, source, "--out", out, "--same-images", *options)
    except AmodalJaxError:
        assert set(folder.rglob("*")) == before
    else:
        assert all(path.is_relative_to(out) for path in set(folder.rglob("*")) - before)
        for name in ANNOTATION_FILES["2020"].values():
            check_annotation_file(out / name)


def image(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def rectangle(x1: int, y1: int, x2: int, y2: int) -> list[int]:
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def rle(x1: int, y1: int, x2: int, y2: int) -> segmentation.Rle:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return segmentation.encode(mask)


def cocoa_content() -> dict:
    hidden = {"visible_mask": rle(20, 5, 40, 20), "invisible_mask": rle(10, 5, 20, 20)}
    regions = [
        {"name": "cup", "order": 1, "isStuff": 0, "occlude_rate": 0, "segmentation": rectangle(5, 5, 20, 20)},
        {"name": "plate", "order": 2, "isStuff": 0, "segmentation": rectangle(10, 5, 40, 20), **hidden},
        {"name": "sky", "order": 3, "isStuff": 1, "segmentation": rectangle(0, 0, 96, 48)},
    ]
    return {"image_id": 5, "regions": regions}


def released_cocoa_content() -> dict:
    """The json file of a split, with one image."""
    listed = {"id": 11, "file_name": "val2014/a.png", "width": WIDTH, "height": HEIGHT}
    return {
        "images": [listed],
        "annotations": [cocoa_content() | {"image_id": 11, "id": 1, "size": 3, "author": "ann"}],
    }


def released_cocoa(folder: Path, damage: Callable[[Any], bytes]) -> None:
    source = folder / "source"
    source.mkdir()
    image(source / "a.png")
    (source / "split.json").write_bytes(damage(released_cocoa_content()))
    convert(from_cocoa, source / "split.json", folder)


def cocoa(folder: Path, damage: Callable[[Any], bytes]) -> None:
    source = folder / "source"
    source.mkdir()
    image(source / "a.png")
    (source / "a.json").write_bytes(damage(cocoa_content()))
    convert(from_cocoa, source, folder)


def d2sa_content() -> dict:
    base = {"image_id": 5, "category_id": 3, "iscrowd": 0, "area": 225}
    annotations = [
        {**base, "id": 1, "bbox": [5, 5, 15, 15], "segmentation": rle(5, 5, 20, 20)},
        {
            **base,
            "id": 2,
            "bbox": [10, 5, 30, 15],
            "segmentation": [rectangle(10, 5, 40, 20)],
            "visible_mask": rle(20, 5, 40, 20),
        },
        {
            **base,
            "id": 3,
            "bbox": [30, 5, 20, 10],
            "segmentation": rle(30, 5, 50, 15),
            "invisible_mask": rle(30, 5, 40, 15),
        },
    ]
    return {
        "images": [{"id": 5, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "bottle", "supercategory": "x"}],
    }


def d2sa(folder: Path, damage: Callable[[Any], bytes]) -> None:
    (folder / "images").mkdir()
    image(folder / "images" / "a.png")
    source = folder / "source.json"
    source.write_bytes(damage(d2sa_content()))
    convert(from_d2sa, source, folder, "--images", folder / "images", "--workers", 1)


def labelme_content() -> dict:
    def shape(label: str, box: tuple, description: str, **changes) -> dict:
        x1, y1, x2, y2 = box
        points = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
        fields = {"label": label, "points": points, "group_id": 1, "description": description}
        return {**fields, "shape_type": "polygon", "flags": {"visible": False}, "mask": None, **changes}

    painted = base64.b64encode(cv2.imencode(".png", np.full((6, 8), 255, np.uint8))[1].tobytes()).decode()
    shapes = [
        shape("car", (5, 5, 20, 20), "1"),
        shape("van", (10, 5, 40, 20), "order 2"),
        shape("van", (20, 5, 40, 20), "", flags={"visible": True}),
        shape("misc", (60, 5, 67, 10), "", shape_type="mask", points=[[60, 5], [67, 10]], mask=painted, group_id=None),
        shape("tram", (70, 5, 90, 20), "", shape_type="rectangle", points=[[70, 5], [90, 20]], group_id=None),
    ]
    content = {"version": "6.0.0", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": None}
    return {**content, "imageHeight": HEIGHT, "imageWidth": WIDTH}


def labelme(folder: Path, damage: Callable[[Any], bytes]) -> None:
    source = folder / "source"
    source.mkdir()
    image(source / "a.png")
    (source / "a.json").write_bytes(damage(labelme_content()))
    convert(from_labelme, source, folder)


def results_content() -> list:
    base = {"image_id": 5, "category_id": 4, "score": 0.5, "bbox": [5, 5, 15, 15], "occluded": 0.3}
    return [
        {**base, "segmentation": rle(5, 5, 20, 20)},
        {**base, "segmentation": [rectangle(5, 5, 20, 20)], "image_id": "b.png"},
        {**base, "segmentation": [rectangle(5, 5, 20, 20)], "file_name": "a.png"},
    ]


def results(folder: Path, damage: Callable[[Any], bytes]) -> None:
    path = folder / "results.json"
    path.write_bytes(damage(results_content()))
    read_every_kind(path)


def votes(folder: Path, damage: Callable[[Any], bytes]) -> None:
    whole = DUMMY_DATA / "update_train_2020.json"
    damaged = folder / "damaged.json"
    damaged.write_bytes(damage(json.loads(whole.read_text())))
    for index, files in enumerate(((whole, damaged, whole), (damaged, damaged), (damaged, whole))):
        out = folder / f"voted{index}.json"
        words = (*files, "--out", out, "--json", folder / f"report{index}.json", "--workers", 1)
        try:
            command(vote, *words)
        except AmodalJaxError:
            assert not out.exists()
        else:
            check_annotation_file(out)
            json.loads((folder / f"report{index}.json").read_text())


COMMANDS = {
    "kins 2020": kins("2020"),
    "kins 2019": kins("2019"),
    "cocoa": cocoa,
    "released cocoa": released_cocoa,
    "d2sa": d2sa,
    "labelme": labelme,
    "results": results,
    "votes": votes,
}


def check_mask(mask: segmentation.Rle, height: int, width: int) -> None:
    runs = segmentation.run_lengths(mask["counts"])
    assert mask["size"] == [height, width]
    assert runs.min() >= 0
    assert runs.sum() == height * width


def read_annotations(path: Path) -> None:
    file = read_annotation_file(path)
    assert all(name.isprintable() for name in file.categories.values())
    for record in file.images:
        # A path below whatever folder.
        assert not Path(record.file_name).is_absolute()
        assert not {"", ".", ".."} & set(record.file_name.split("/"))
        assert record.file_name.isprintable()
        for annotation in record.annotations:
            instance, _ = read_instance(annotation, KEYS[file.release], record.height, record.width)
            if instance is not None:
                check_mask(instance.amodal, record.height, record.width)
                check_mask(instance.inmodal, record.height, record.width)
                assert 0 <= instance.occlusion_ratio <= 1
                assert np.isfinite([*instance.amodal_box, *instance.inmodal_box]).all()


def read_cocoa(path: Path) -> None:
    for annotated in find_annotations(path).images:
        for region in read_regions(annotated, include_stuff=True, renames={}).regions:
            assert region.class_name.isprintable()
            check_mask(region.amodal, HEIGHT, WIDTH)
            check_mask(region.visible, HEIGHT, WIDTH)


def read_labelme(path: Path) -> None:
    image = read_labelled_image(path, source=path.parent)
    for thing in image.objects if image else ():
        assert thing.name.isprintable()
        check_mask(thing.amodal, HEIGHT, WIDTH)
        check_mask(thing.visible or thing.amodal, HEIGHT, WIDTH)


def read_every_kind(path: Path) -> None:
    truth = AnnotatedImages({5: (HEIGHT, WIDTH), 6: (HEIGHT, WIDTH)}, {4: "car"}, [], {5: "a.png", 6: "b.png"})
    for kind in ("det", "amodal", "inmodal"):
        with contextlib.suppress(AmodalJaxError):
            for detection in read_results({kind: path}, truth, progress=False)[kind]:
                assert detection["image_id"] in truth.image_sizes
                assert np.isfinite(detection["score"])
                check_mask(detection.get("segmentation", rle(0, 0, 1, 1)), HEIGHT, WIDTH)


READERS = {
    "kins 2020": (kins_content("2020"), read_annotations),
    "kins 2019": (kins_content("2019"), read_annotations),
    "d2sa": (d2sa_content(), read_annotations),
    "cocoa": (cocoa_content(), read_cocoa),
    "released cocoa": (released_cocoa_content(), read_cocoa),
    "labelme": (labelme_content(), read_labelme),
    "results": (results_content(), read_every_kind),
}

needs_linux = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="only Linux says how much address space is in use"
)


@needs_linux
@pytest.mark.parametrize("reader", READERS)
def test_any_value_in_place_of_any_other(reader, tmp_path):
    """One of each kind of place, named by its keys, with every value of the list above, and gone."""
    content, read = READERS[reader]
    image(tmp_path / "a.png")
    path = tmp_path / "a.json"
    by_keys: dict[tuple, tuple] = {}
    for place in places(content):
        by_keys.setdefault(tuple(key if isinstance(key, str) else "" for key in place), place)
    for place in by_keys.values():
        for number in range(-1, len(POISON)):
            damaged = copy.deepcopy(content)
            *way, last = place
            holder = damaged
            for key in way:
                holder = holder[key]
            if number < 0:
                del holder[last]
            else:
                holder[last] = POISON[number]
            path.unlink(missing_ok=True)  # a file system may take milliseconds to write a file over
            path.write_text(json.dumps(damaged))
            try:
                with bounded(), contextlib.suppress(AmodalJaxError):
                    read(path)
            except BaseException as error:
                value = "nothing" if number < 0 else repr(POISON[number])[:80]
                raise AssertionError(f"{value} in place of {place}") from error


@needs_linux
@pytest.mark.parametrize("reader", COMMANDS)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(damage=damages())
def test_commands_end_in_an_error_or_a_right_result(reader, damage):
    with tempfile.TemporaryDirectory() as folder, bounded(), contextlib.suppress(AmodalJaxError):
        COMMANDS[reader](Path(folder), damage)


@pytest.mark.parametrize("reader", COMMANDS)
def test_commands_take_what_is_whole(reader, tmp_path):
    """Without damage none refuses: otherwise nothing above would be tested."""
    COMMANDS[reader](tmp_path, lambda content: json.dumps(content).encode())
    assert len(list(tmp_path.rglob("*.json"))) > (0 if reader == "results" else 1)


@pytest.mark.parametrize("reader", READERS)
def test_readers_take_what_is_whole(reader, tmp_path):
    content, read = READERS[reader]
    image(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(content))
    read(tmp_path / "a.json")
