import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow as tf

from amodal_jax.classes import KINS_CLASS_NAMES
from amodal_jax.errors import DataError
from amodal_jax.files.image_reader import read_image
from amodal_jax.input_pipeline.batches import check_split, evaluation_batches, training_batches
from amodal_jax.input_pipeline.records import dataset_categories, evaluation_records, split_size
from amodal_jax.masks.segmentation import run_lengths
from tests.helpers.micro import micro_config
from tests.helpers.odd_masks import compressed
from tests.helpers.tiny_scenes import TEST_IMAGE_COUNT, TRAIN_IMAGE_COUNT, build_dataset, write_tiny_scenes

DUMMY_DATA = Path(__file__).resolve().parents[2] / "data" / "kins" / "dummy_data"


@pytest.fixture
def config(tiny_dataset):
    return with_data(micro_config(), directory=str(tiny_dataset))


def with_data(config, **changes):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def with_seed(config, seed):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))


def take(batches, count):
    return list(itertools.islice(batches, count))


def ids(batches):
    return np.concatenate([batch.image_ids for batch in batches]).tolist()


def unpack(crops):
    return np.unpackbits(crops, axis=-1).astype(bool)


def assert_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(one, other)


def test_names_and_sizes_are_the_datasets(config):
    assert dataset_categories(config) == dict(zip((1, 2, 4, 5, 6, 7, 8), KINS_CLASS_NAMES, strict=True))
    assert split_size(config, "train") == TRAIN_IMAGE_COUNT
    assert split_size(config, "test") == TEST_IMAGE_COUNT
    assert split_size(config, "train[:4]") == 4


def test_a_dataset_that_is_opened_leaves_the_gpus_to_jax(config, monkeypatch):
    hidden = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *arguments: hidden.append(arguments))
    split_size(config, "train")
    assert hidden == [([], "GPU")]

    def too_late(*arguments):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", too_late)
    assert split_size(config, "train") == TRAIN_IMAGE_COUNT


def test_a_batch_holds_what_the_files_say(config, tiny_dataset):
    scenes = tiny_dataset.parents[2] / "scenes"
    content = json.loads((scenes / "update_train_2020.json").read_text())
    (batch,) = take(training_batches(with_data(config, flip=False), batch_size=4), 1)
    assert batch.images.shape == (4, 64, 96, 3)
    assert batch.valid.all()
    for index, image_id in enumerate(batch.image_ids):
        image = read_image(scenes / f"training/image_2/{image_id:06d}.png")
        height, width = image.shape[:2]
        assert batch.sizes[index].tolist() == [height, width]
        np.testing.assert_array_equal(batch.images[index, :height, :width], image)
        assert not batch.images[index, height:].any()
        assert not batch.images[index, :, width:].any()
        expected = [one for one in content["annotations"] if one["image_id"] == image_id]
        truth = jax.tree.map(lambda array, index=index: array[index], batch.truth)
        assert truth.valid.tolist() == [True] * 2 + [False] * 4
        assert truth.cluster.tolist() == [0, 0, -1, -1, -1, -1]
        assert truth.order.tolist() == [1, 2, -1, -1, -1, -1]
        names = {category["id"]: category["name"] for category in content["categories"]}
        for slot, one in enumerate(sorted(expected, key=lambda one: one["id"])):
            x, y, w, h = one["a_bbox"]
            np.testing.assert_allclose(truth.boxes[slot], [x, y, x + w, y + h], atol=1e-4)
            assert KINS_CLASS_NAMES[truth.labels[slot]] == names[one["category_id"]]
            assert truth.occlusion_ratio[slot] == pytest.approx(1 - one["i_area"] / one["a_area"])
            assert unpack(truth.amodal_crops[slot]).all()
            assert unpack(truth.inmodal_crops[slot]).mean() == pytest.approx(one["i_area"] / one["a_area"], abs=0.03)


def test_a_crowd_is_no_instance(tmp_path):
    """Its box is kept, though, for nothing in it to be taken for background."""
    scenes = Path(shutil.copytree(DUMMY_DATA, tmp_path / "scenes"))
    path = scenes / "instances_train.json"
    content = json.loads(path.read_text())
    crowd = content["annotations"][1]
    crowd["iscrowd"] = 1
    path.write_text(json.dumps(content))
    for file in scenes.glob("update_*.json"):
        file.unlink()
    config = with_data(micro_config(), directory=str(build_dataset(scenes, tmp_path / "datasets")), flip=False)
    found = 0
    for batch in take(training_batches(config, batch_size=1), len(content["images"])):
        assert (batch.truth.cluster == -1).all()  # the files of 2019 have no orders
        assert (batch.truth.order == -1).all()
        annotations = [one for one in content["annotations"] if one["image_id"] == batch.image_ids[0]]
        for slot, one in enumerate(annotations):
            is_crowd = one["id"] == crowd["id"]
            found += is_crowd
            assert batch.truth.crowd[0, slot] == is_crowd
            assert batch.truth.valid[0, slot] != is_crowd
            x, y, w, h = one["bbox"]
            np.testing.assert_allclose(batch.truth.boxes[0, slot], [x, y, x + w, y + h], atol=1e-4)
        assert not batch.truth.crowd[0, len(annotations) :].any()
        assert not batch.truth.valid[0, len(annotations) :].any()
    assert found == 1


def test_clusters_and_orders_of_any_ids_are_told_apart(tmp_path):
    """Of those that are equal in the lower 32 bits, too."""
    scenes = tmp_path / "scenes"
    write_tiny_scenes(scenes)
    path = scenes / "update_train_2020.json"
    content = json.loads(path.read_text())
    first, second = (one for one in content["annotations"] if one["image_id"] == 0)
    first["oco_id"], second["oco_id"] = 2**32, 2**33
    first["ico_id"], second["ico_id"] = 2**40, 1
    others = [one for one in content["annotations"] if one["image_id"] == 1]
    others[0]["oco_id"] = others[1]["oco_id"] = 7
    others[1]["ico_id"] = None
    path.write_text(json.dumps(content))
    config = with_data(micro_config(), directory=str(build_dataset(scenes, tmp_path / "datasets")), flip=False)
    batches = {int(batch.image_ids[0]): batch for batch in take(training_batches(config, batch_size=1), 11)}
    truth = batches[0].truth
    assert truth.cluster[0, :3].tolist() == [0, 1, -1]
    assert truth.order[0, :3].tolist() == [2**31 - 1, 1, -1]
    assert truth.cluster.dtype == truth.order.dtype == np.int32
    assert batches[1].truth.cluster[0, :3].tolist() == [0, -1, -1]
    assert batches[1].truth.order[0, :3].tolist() == [1, -1, -1]


def test_a_flip_mirrors_image_boxes_and_crops(config):
    plain = {}
    for batch in take(training_batches(with_data(config, flip=False), batch_size=1), TRAIN_IMAGE_COUNT):
        plain[int(batch.image_ids[0])] = batch
    flipped = 0
    for batch in take(training_batches(config, batch_size=1), 3 * TRAIN_IMAGE_COUNT):
        original = plain[int(batch.image_ids[0])]
        if np.array_equal(batch.images, original.images):
            assert_equal(batch, original)
            continue
        flipped += 1
        width = int(original.sizes[0, 1])
        np.testing.assert_array_equal(batch.images[:, :, :width], original.images[:, :, :width][:, :, ::-1])
        assert not batch.images[:, :, width:].any()
        valid = original.truth.valid
        x1, y1, x2, y2 = original.truth.boxes[valid].T
        np.testing.assert_allclose(batch.truth.boxes[valid], np.stack([width - x2, y1, width - x1, y2], 1), atol=1e-4)
        for name in ("amodal_crops", "inmodal_crops"):
            mirrored = unpack(getattr(original.truth, name))[..., ::-1]
            np.testing.assert_array_equal(unpack(getattr(batch.truth, name)), mirrored)
        unchanged = {
            name: getattr(original.truth, name) for name in ("labels", "occlusion_ratio", "cluster", "order", "valid")
        }
        assert_equal({name: getattr(batch.truth, name) for name in unchanged}, unchanged)
    assert 5 < flipped < 28  # of 33, with probability one half: 13 in a hundred thousand seeds would fail


def test_every_epoch_is_another_order_of_all_images(config):
    order = ids(take(training_batches(config, batch_size=2), TRAIN_IMAGE_COUNT))
    first, second = order[:TRAIN_IMAGE_COUNT], order[TRAIN_IMAGE_COUNT:]
    assert sorted(first) == sorted(second) == list(range(TRAIN_IMAGE_COUNT))
    assert first != second


def test_the_seed_decides_everything(config):
    batches = [take(training_batches(with_seed(config, seed), batch_size=3), 5) for seed in (1, 1, 2)]
    assert_equal(batches[0], batches[1])
    assert ids(batches[0]) != ids(batches[2])


def test_processes_share_the_stream_of_one(config):
    process_count = 2
    whole = take(training_batches(config, batch_size=4), 6)
    parts = [
        take(
            training_batches(config, batch_size=4 // process_count, process_index=index, process_count=process_count),
            6,
        )
        for index in range(process_count)
    ]
    joined = [jax.tree.map(lambda *arrays: np.concatenate(arrays), *step) for step in zip(*parts, strict=True)]
    assert_equal(joined, whole)


@pytest.mark.parametrize("consumed", [0, 7])
def test_a_restored_position_goes_on_exactly(config, consumed):
    batches = training_batches(config, batch_size=2)
    take(batches, consumed)
    state = json.loads(json.dumps(batches.get_state()))
    expected = take(batches, 6)
    again = training_batches(config, batch_size=2)
    take(again, 3)
    again.set_state(state)
    assert_equal(take(again, 6), expected)


def test_a_position_in_another_split_is_refused(config):
    state = training_batches(config, batch_size=2).get_state()
    with pytest.raises(DataError, match=r"trained on 11 images, but the split has 4"):
        training_batches(with_data(config, train_split="train[:4]"), batch_size=2).set_state(state)


@pytest.mark.parametrize(("batch_size", "process_count"), [(2, 1), (5, 1), (8, 1), (2, 2), (1, 3)])
def test_evaluation_sees_every_image_once(config, batch_size, process_count):
    expected = [int(record["image/id"]) for record in evaluation_records(config)]
    parts = [
        list(evaluation_batches(config, batch_size=batch_size, process_index=index, process_count=process_count))
        for index in range(process_count)
    ]
    assert len({len(part) for part in parts}) == 1
    assert all(len(batch.images) == batch_size for part in parts for batch in part)
    seen = [batch.image_ids[batch.valid] for step in zip(*parts, strict=True) for batch in step]
    assert np.concatenate(seen).tolist() == expected


def test_records_are_read_in_part_and_by_their_place(config):
    whole = list(evaluation_records(config))
    assert len(whole) == TEST_IMAGE_COUNT
    assert_equal(list(evaluation_records(config, [3, 0])), [whole[3], whole[0]])
    lean = list(evaluation_records(config, with_pixels=False))
    for record, expected in zip(lean, whole, strict=True):
        assert expected.keys() - record.keys() == {"image"}
        assert expected["objects"].keys() - record["objects"].keys() == {"amodal_crop", "inmodal_crop"}
        assert_equal(record, without_pixels(expected))


def without_pixels(record):
    left_out = ("image", "amodal_crop", "inmodal_crop")
    return {
        name: without_pixels(value) if isinstance(value, dict) else value
        for name, value in record.items()
        if name not in left_out
    }


def test_an_image_larger_than_the_canvas_is_named(config):
    part = with_data(config, canvas_width=70, train_split="train[:10]")
    with pytest.raises(DataError, match=r"image \d+ has \d+ x \d+ pixels, .* data.canvas_height"):
        take(training_batches(part, batch_size=4), 3)


def test_an_image_with_too_many_objects_is_named(config):
    part = with_data(config, max_instances=1, train_split="train[:10]")
    with pytest.raises(DataError, match=r"image \d+ has 2 objects, more than the 1 slots; raise data.max_instances"):
        take(training_batches(part, batch_size=1), 1)


def test_what_a_whole_split_has_no_room_for_is_known_before_it_is_read(config, tiny_dataset, tmp_path):
    sizes = [(int(one["image/height"]), int(one["image/width"])) for one in evaluation_records(config)]
    height, width = np.max(sizes, axis=0)
    check_split(with_data(config, canvas_height=int(height), canvas_width=int(width), max_instances=2), "test")
    for changes in ({"canvas_height": int(height) - 1}, {"canvas_width": int(width) - 1}):
        with pytest.raises(
            DataError, match=f"split test: the images reach {height} pixels in height and {width} in width"
        ):
            check_split(with_data(config, **changes), "test")
        with pytest.raises(DataError, match="the images reach"):
            next(evaluation_batches(with_data(config, **changes), batch_size=1))
    with pytest.raises(DataError, match="split train: an image has 2 objects, more than the 1 slots"):
        training_batches(with_data(config, max_instances=1), batch_size=1)
    # A dataset of an older builder does not say it.
    damaged_copy(tiny_dataset, tmp_path)
    report = tmp_path / "1.1.0" / "annotation_report.json"
    older = with_data(config, directory=str(tmp_path), max_instances=1)
    content = json.loads(report.read_text())
    del content["splits"]["test"]["largest"]
    report.write_text(json.dumps(content))
    check_split(older, "test")
    report.write_text("{")
    with pytest.raises(DataError, match=r"annotation_report\.json: is damaged .*; build the dataset again"):
        check_split(older, "test")


@pytest.mark.parametrize("split", ["val", "train[:0]"])
def test_a_split_without_images_is_refused(config, split):
    with pytest.raises(DataError, match="no such split; there are: train, test|the split is empty"):
        training_batches(with_data(config, train_split=split), batch_size=1)


def test_a_missing_dataset_is_named(config, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such dataset; build it"):
        dataset_categories(with_data(config, directory=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="holds no built dataset"):
        dataset_categories(with_data(config, directory=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "content"), [("dataset_info.json", "{}"), ("features.json", '{"a":'), ("features.json", None)]
)
def test_a_dataset_whose_description_is_damaged_is_named(config, tiny_dataset, tmp_path, name, content):
    damaged_copy(tiny_dataset, tmp_path)
    file = tmp_path / "1.1.0" / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(DataError, match=r"1\.1\.0: is no whole dataset .*--overwrite"):
        dataset_categories(with_data(config, directory=str(tmp_path)))


def test_a_dataset_of_another_kind_is_named(config, tiny_dataset, tmp_path):
    damaged_copy(tiny_dataset, tmp_path)
    file = tmp_path / "1.1.0" / "features.json"
    features = json.loads(file.read_text())
    features["featuresDict"]["features"]["annotations"] = features["featuresDict"]["features"].pop("objects")
    file.write_text(json.dumps(features))
    with pytest.raises(DataError, match=r"1\.1\.0: is a dataset of another kind \(its records have no objects\)"):
        dataset_categories(with_data(config, directory=str(tmp_path)))


def test_the_newest_version_is_taken(config, tiny_dataset, tmp_path):
    for version in ("1.1.0", "1.9.0", "1.10.0"):
        shutil.copytree(tiny_dataset, tmp_path / version)
        info = tmp_path / version / "dataset_info.json"
        info.write_text(info.read_text().replace('"1.1.0"', f'"{version}"'))
    shutil.rmtree(tmp_path / "1.1.0" / "features.json", ignore_errors=True)
    config = with_data(config, directory=str(tmp_path))
    assert split_size(config, "train") == TRAIN_IMAGE_COUNT
    (tmp_path / "1.10.0" / "dataset_info.json").unlink()
    shutil.copytree(tiny_dataset, tmp_path / "1.9.0.backup")
    assert split_size(config, "train") == TRAIN_IMAGE_COUNT


def damaged_copy(tiny_dataset, folder):
    shutil.copytree(tiny_dataset, folder / "1.1.0")
    (file,) = (folder / "1.1.0").glob("*train.tfrecord*")
    return file


def test_a_file_that_is_cut_off_is_named(config, tiny_dataset, tmp_path):
    file = damaged_copy(tiny_dataset, tmp_path)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DataError, match=rf"{file.name}: is cut off after 10 of 11 records"):
        training_batches(with_data(config, directory=str(tmp_path)), batch_size=1)


def edited_records(file, edit):
    """Writes the records of a file again, with the masks of each, as the file has them, edited."""
    records = list(tf.data.TFRecordDataset([str(file)]).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            example = tf.train.Example.FromString(record)
            size = [example.features.feature[f"image/{side}"].int64_list.value[0] for side in ("height", "width")]
            masks = example.features.feature["objects/inmodal_rle"].bytes_list.value
            masks[:] = [edit(counts, *size) for counts in masks]
            writer.write(example.SerializeToString())


def test_masks_of_records_are_safe_whichever_version_wrote_them(config, tiny_dataset, tmp_path):
    """They may have runs of no pixel, at which pycocotools writes beyond its memory."""
    file = damaged_copy(tiny_dataset, tmp_path)
    original = with_data(config, test_split="train")
    config = with_data(original, directory=str(tmp_path))
    edited_records(file, lambda counts, height, width: compressed([*run_lengths(counts).tolist(), 0, 0, 0]).encode())
    for read, expected in zip(evaluation_records(config), evaluation_records(original), strict=True):
        assert read["objects"]["inmodal_rle"].tolist() == expected["objects"]["inmodal_rle"].tolist()
    edited_records(file, lambda counts, height, width: b"1")
    with pytest.raises(DataError, match=r"image \d+ has a mask that does not fill it; build it again"):
        list(evaluation_records(config))


def test_an_image_that_cannot_be_decoded_is_named(config, tiny_dataset, tmp_path):
    file = damaged_copy(tiny_dataset, tmp_path)
    records = list(tf.data.TFRecordDataset([str(file)]).as_numpy_iterator())
    records[1] = records[1].replace(b"\x89PNG", b"NOPE")
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    with pytest.raises(DataError, match=r"image \d+ \(\d+.png\) cannot be decoded"):
        take(training_batches(with_data(config, directory=str(tmp_path)), batch_size=1), TRAIN_IMAGE_COUNT)


def test_a_flipped_bit_is_noticed(config, tiny_dataset, tmp_path):
    """In a place that decodes well whatever it holds: the name of the image's file."""
    config = with_data(config, directory=str(tmp_path), test_split="train")
    file = damaged_copy(tiny_dataset, tmp_path)
    records = list(evaluation_records(config))
    content = bytearray(file.read_bytes())
    # With its length before it: the bytes of the name alone may occur within another record's masks or pixels.
    name = records[2]["image/filename"]
    field = bytes([len(name)]) + name
    assert content.count(field) == 1
    content[content.index(field) + 1] ^= 1
    file.write_bytes(content)
    expected = "record 2 cannot be decoded; build it again"
    for read in (
        lambda: take(training_batches(config, batch_size=1), TRAIN_IMAGE_COUNT),
        lambda: list(evaluation_batches(config, batch_size=2)),
        lambda: list(evaluation_records(config)),
        lambda: list(evaluation_records(config, [2], with_pixels=False)),
    ):
        with pytest.raises(DataError, match=expected):
            read()
    assert len(list(evaluation_records(config, [0, 1, 3]))) == 3


def test_a_dataset_without_category_ids_is_refused(config, tiny_dataset, tmp_path):
    damaged_copy(tiny_dataset, tmp_path)
    (tmp_path / "1.1.0" / "metadata.json").unlink()
    with pytest.raises(DataError, match=r"1\.1\.0: does not say the category ids .* build it again"):
        dataset_categories(with_data(config, directory=str(tmp_path)))


def test_a_damaged_record_is_named(config, tiny_dataset, tmp_path):
    file = damaged_copy(tiny_dataset, tmp_path)
    content = bytearray(file.read_bytes())
    content[12:40] = b"\xff" * 28
    file.write_bytes(content)
    config = with_data(config, directory=str(tmp_path), test_split="train")
    with pytest.raises(DataError, match="record 0 cannot be decoded"):
        take(training_batches(config, batch_size=1), TRAIN_IMAGE_COUNT)
    with pytest.raises(DataError, match="record 0 cannot be decoded"):
        list(evaluation_records(config))
