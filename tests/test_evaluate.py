"""Evaluation of a real (untrained) network on records built by the real builder."""

import dataclasses
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from amodal_jax import evaluate
from amodal_jax.config import Config, DataConfig, EvaluationConfig, ModelConfig, OcclusionConfig
from amodal_jax.errors import ConfigError, DataError
from amodal_jax.evaluate import EvaluationStopped, evaluate_files, evaluate_network
from amodal_jax.evaluation.detect import detect_images, image_results, join_results
from amodal_jax.evaluation.metrics import evaluate_results, format_table, results_from_truth
from amodal_jax.evaluation.truth import read_truth
from amodal_jax.evaluation.write import images_without_room, write_results
from amodal_jax.files.image_reader import read_image
from amodal_jax.network import build_network, initialise
from amodal_jax.occlusion import OCCLUSION_THRESHOLD
from amodal_jax.predict import Predictor
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from amodal_jax.structures import Detections
from tests.helpers.micro import micro_config

ROOT = Path(__file__).resolve().parents[1]
DUMMY_DATA = ROOT / "data" / "kins" / "dummy_data"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The smallest network, evaluated on the three images of the dummy data's larger split."""
    directory = build(DUMMY_DATA, tmp_path_factory.mktemp("datasets"))
    return with_data(micro_config(), directory=str(directory), test_split="train")


def build(manual_dir: Path, data_dir: Path) -> Path:
    import tensorflow_datasets as tfds

    from data.kins.kins_dataset_builder import Builder

    tfds.disable_progress_bar()
    builder = Builder(data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return Path(builder.data_path)


@pytest.fixture(scope="module")
def network(config):
    detector = build_network(config)
    return detector, initialise(detector, config, jax.random.key(0))


@pytest.fixture(scope="module")
def evaluated(config, network, tmp_path_factory):
    """The figures and files of an evaluation over all (eight) devices."""
    folder = tmp_path_factory.mktemp("evaluated")
    return evaluate_network(*network, config, folder, progress=False), folder


def with_data(config, **changes):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def files_config(config) -> Config:
    """What is known of a dataset that result files are scored on: where it is."""
    data = DataConfig(directory=config.data.directory, test_split=config.data.test_split)
    return Config(model=ModelConfig(class_names=()), data=data)


def test_the_truth_is_what_the_annotation_file_says(config):
    truth = read_truth(config)
    content = json.loads((DUMMY_DATA / "update_train_2020.json").read_text())
    assert truth.image_sizes == {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert truth.categories == {key: name for key, name in names.items() if name != "rider"}
    expected = sorted((a["image_id"], a["category_id"], a["a_area"], a["i_area"]) for a in content["annotations"])
    areas = [coco_mask.area([one.amodal_rle, one.inmodal_rle]) for one in truth.instances]
    found = [(one.image_id, one.category_id, *area) for one, area in zip(truth.instances, areas, strict=True)]
    assert sorted(found) == expected
    boxes = sorted(tuple(a["a_bbox"]) for a in content["annotations"])
    np.testing.assert_allclose(sorted(one.box for one in truth.instances), boxes, atol=1e-4)
    for one, (amodal, inmodal) in zip(truth.instances, areas, strict=True):
        assert one.occlusion_ratio == pytest.approx(1 - inmodal / amodal, abs=1e-6)
    assert truth.file_names == {image["id"]: Path(image["file_name"]).name for image in content["images"]}
    # Nothing of it is the network's.
    assert read_truth(files_config(config)) == truth


def test_the_truth_of_a_built_dataset_scores_exactly_one(config):
    truth = read_truth(config)
    metrics = evaluate_results(truth, results_from_truth(truth))
    assert metrics["det/AP"] == metrics["amodal/AP"] == metrics["inmodal/AP"] == 1.0
    assert metrics["occlusion_accuracy"] == 1.0
    assert metrics["occlusion_matches"] == len(truth.instances) == 9


def test_every_image_is_evaluated_once(evaluated):
    # Eight devices for three images; two processes of a device each, further down, give the same.
    metrics, folder = evaluated
    assert metrics["images"] == 3
    assert metrics["detections"] == len(json.loads((folder / "detections_amodal.json").read_text())) > 0


def test_occlusion_is_measured_against_one_truth_whatever_the_network_was_trained_with(
    config, network, tmp_path, monkeypatch
):
    thresholds = []

    def recorded(truth, results, occlusion_threshold=OCCLUSION_THRESHOLD):
        thresholds.append(occlusion_threshold)
        return evaluate_results(truth, results, occlusion_threshold)

    monkeypatch.setattr(evaluate, "evaluate_results", recorded)
    trained = dataclasses.replace(config.model, occlusion=OcclusionConfig(threshold=0.2))
    evaluate_network(*network, dataclasses.replace(config, model=trained), tmp_path, progress=False)
    assert thresholds == [0.05]
    assert json.loads((tmp_path / "metrics.json").read_text())["occlusion_threshold"] == 0.05


def test_a_stopped_evaluation_writes_nothing(config, network, tmp_path):
    asked = []

    def stop_requested():
        asked.append(None)
        return len(asked) > 1

    with pytest.raises(EvaluationStopped):
        evaluate_network(*network, config, tmp_path, stop_requested=stop_requested, progress=False)
    assert len(asked) > 1
    assert not any(tmp_path.iterdir())


def test_the_files_are_what_stock_coco_reads(config, evaluated):
    metrics, folder = evaluated
    content = json.loads((folder / "metrics.json").read_text())
    assert content == metrics | {
        "checkpoint": None,
        "dataset": {"directory": config.data.directory, "split": "train"},
        "occlusion_threshold": 0.05,
        "evaluation": dataclasses.asdict(config.evaluation),
        "images_without_room": 3,
    }
    assert sorted(path.name for path in folder.iterdir()) == [
        "detections_amodal.json",
        "detections_inmodal.json",
        "metrics.json",
    ]
    annotations = json.loads((DUMMY_DATA / "update_train_2020.json").read_text())
    official = COCO()
    official.dataset = {"info": {}} | annotations
    official.createIndex()
    truth = read_truth(config)
    loaded = {}
    for kind in ("amodal", "inmodal"):
        path = folder / f"detections_{kind}.json"
        results = official.loadRes(str(path)).dataset["annotations"]
        assert {one["image_id"] for one in results} == set(truth.image_sizes)
        for one in results:
            assert tuple(one["segmentation"]["size"]) == truth.image_sizes[one["image_id"]]
            assert 0 <= one["occluded"] <= 1
            assert 0 <= one["score"] <= 1
        loaded[kind] = json.loads(path.read_text())
    # The files alone give the same figures.
    assert evaluate_results(truth, loaded | {"det": loaded["amodal"]}) == metrics


def test_the_detections_are_those_of_the_predictor(config, network, evaluated):
    _, folder = evaluated
    predictor = Predictor(config, network[1])
    ids = (1, 2, 4, 5, 6, 7, 8)  # of KINS' files
    files = {kind: json.loads((folder / f"detections_{kind}.json").read_text()) for kind in ("amodal", "inmodal")}
    for image_id in range(3):
        instances = predictor(read_image(DUMMY_DATA / "training" / "image_2" / f"{image_id:06d}.png"))
        for kind, masks in (("amodal", instances.amodal_masks), ("inmodal", instances.inmodal_masks)):
            expected = [one for one in files[kind] if one["image_id"] == image_id]
            assert [one["category_id"] for one in expected] == [ids[label] for label in instances.labels]
            x, y, width, height = np.array([one["bbox"] for one in expected]).T
            np.testing.assert_allclose(np.stack([x, y, x + width, y + height], axis=1), instances.boxes, atol=0.01)
            np.testing.assert_allclose([one["score"] for one in expected], instances.scores, atol=1e-5)
            np.testing.assert_allclose([one["occluded"] for one in expected], instances.occluded, atol=1e-5)
            decoded = np.stack([coco_mask.decode(one["segmentation"]) for one in expected]).astype(bool)
            # A probability within rounding of one half may fall to either side.
            assert np.mean(decoded != masks) < 1e-3


def test_ids_are_those_of_the_annotation_files(config, network, evaluated, tmp_path):
    """Category ids that are nobody's convention, and image ids that 32 bits cannot hold."""
    manual_dir = Path(shutil.copytree(DUMMY_DATA, tmp_path / "manual"))
    for path in manual_dir.glob("update_*_2020.json"):
        content = json.loads(path.read_text())
        content["categories"] = [one for one in content["categories"] if one["name"] != "rider"]
        for entry in (*content["categories"], *content["images"]):
            entry["id"] = changed(entry["id"])
        for annotation in content["annotations"]:
            annotation["category_id"] = changed(annotation["category_id"])
            annotation["image_id"] = changed(annotation["image_id"])
        path.write_text(json.dumps(content))
    other = with_data(config, directory=str(build(manual_dir, tmp_path / "datasets")))
    assert read_truth(other).categories == {changed(key): name for key, name in read_truth(config).categories.items()}
    metrics = evaluate_network(*network, other, tmp_path / "evaluated", progress=False)
    assert metrics == evaluated[0]
    for name in ("detections_amodal.json", "detections_inmodal.json"):
        expected = json.loads((evaluated[1] / name).read_text())
        for one in expected:
            one |= {key: changed(one[key]) for key in ("category_id", "image_id")}
        assert json.loads((tmp_path / "evaluated" / name).read_text()) == expected


def changed(identifier: int) -> int:
    return 10 * identifier + 2**40


def test_a_branch_that_is_missing_has_no_file_and_no_figures(tmp_path):
    detections = Detections(
        boxes=np.array([[1, 2, 11, 22], [0, 0, 0, 0]], np.float32),
        scores=np.array([0.75, 0], np.float32),
        labels=np.array([2, 0], np.int32),
        valid=np.array([True, False]),
        occluded=None,
        amodal_masks=None,
        inmodal_masks=np.ones((2, 28, 28), np.float32),
    )
    settings = EvaluationConfig()
    results = image_results(detections, 5, (40, 60), (1, 2, 4), settings)
    assert results["det"] == [{"image_id": 5, "category_id": 4, "bbox": [1.0, 2.0, 10.0, 20.0], "score": 0.75}]
    assert results.keys() == {"det", "inmodal"}
    assert coco_mask.toBbox(results["inmodal"][0]["segmentation"]).tolist() == [1, 2, 10, 20]
    as_torchvision = dataclasses.replace(settings, mask_paste="torchvision")
    larger = image_results(detections, 5, (40, 60), (1, 2, 4), as_torchvision)["inmodal"][0]["segmentation"]
    assert coco_mask.area(larger) > 10 * 20
    write_results(tmp_path / "masks", results, {"det/AP": 0.5})
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {"detections_inmodal.json", "metrics.json"}

    results = image_results(dataclasses.replace(detections, inmodal_masks=None), 5, (40, 60), (1, 2, 4), settings)
    write_results(tmp_path / "boxes", results, {"det/AP": 0.5})
    assert {path.name for path in (tmp_path / "boxes").iterdir()} == {"detections.json", "metrics.json"}
    assert json.loads((tmp_path / "boxes" / "detections.json").read_text()) == results["det"]


def test_a_dataset_of_other_classes_is_refused(config, network):
    names = ("cat", "dog")
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=names))
    with pytest.raises(ConfigError, match=r"cat, dog, but the dataset at .* has cyclist"):
        evaluate_network(*network, other, None, progress=False)


def test_an_image_that_does_not_fit_the_network_is_refused(config, network):
    """As `Predictor` would not shrink it to fit either, but take a larger canvas."""
    small = dataclasses.replace(config.model.input, height=32)
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, input=small))
    with pytest.raises(DataError, match=r"image 0 of .* becomes .* raise model.input.height to 64 and"):
        evaluate_network(*network, other, None, progress=False)


def test_images_with_all_detections_that_there_may_be_are_counted():
    results = {"det": [{"image_id": image, "category_id": one} for image, one in ((7, 1), (7, 1), (7, 2), (8, 1))]}

    def count(classes=7, **settings):
        return images_without_room(results, EvaluationConfig(**settings), classes)

    assert count() == 0
    assert [count(max_detections=most) for most in (1, 3, 4)] == [2, 1, 0]
    assert [count(max_detections_per_class=most) for most in (1, 2, 3)] == [2, 1, 0]
    assert count(max_detections=3, max_detections_per_class=1) == 2


def test_images_of_which_all_is_there_that_coco_counts_lack_no_room():
    full = [{"image_id": 3, "category_id": one} for one in (1, 2) for _ in range(100)]
    assert images_without_room({"det": full}, EvaluationConfig(max_detections=200), 2) == 0
    assert images_without_room({"det": full}, EvaluationConfig(max_detections=200), 3) == 1
    assert images_without_room({"det": full}, EvaluationConfig(max_detections_per_class=200), 3) == 0


def test_a_lack_of_room_is_said_before_the_table(config, network, capsys):
    evaluate_network(*network, config, None)
    printed = capsys.readouterr()
    assert "note: 3 of 3 images have as many detections as evaluation.max_detections (10)" in printed.err
    assert "Amodal Seg" in printed.out
    roomy = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, max_detections=1000))
    metrics = evaluate_network(build_network(roomy), network[1], roomy, None)
    assert metrics["detections"] > 30
    assert "note:" not in capsys.readouterr().err


def test_a_missing_dataset_or_split_is_named(config, network):
    with pytest.raises(DataError, match="nowhere"):
        evaluate_network(*network, with_data(config, directory="/nowhere"), None, progress=False)
    with pytest.raises(DataError, match="validation"):
        evaluate_network(*network, with_data(config, test_split="validation"), None, progress=False)


def test_two_images_of_one_id_are_refused(config):
    # The dummy data counts the images of both splits from 0.
    with pytest.raises(DataError, match="two images have the id [01]"):
        read_truth(with_data(config, test_split="train+test"))


def test_files_of_an_evaluation_give_its_figures_by_id_and_by_name(config, evaluated, tmp_path):
    metrics, folder = evaluated
    files = {kind: folder / f"detections_{kind}.json" for kind in ("amodal", "inmodal")}
    scored = files_config(config)
    assert evaluate_files(files, scored, tmp_path / "scored", progress=False) == metrics
    assert json.loads((tmp_path / "scored" / "metrics.json").read_text()) == {
        "results": {kind: str(path) for kind, path in files.items()},
        "dataset": {"directory": config.data.directory, "split": "train"},
        "occlusion_threshold": 0.05,
        "repeated_detections": {"amodal": 0, "inmodal": 0},
        "images_without_detections": {"amodal": 0, "inmodal": 0},
        **metrics,
    }

    names = read_truth(scored).file_names
    for kind, path in files.items():
        found = json.loads(path.read_text())
        named = [one | {"image_id": f"testing/{names[one['image_id']]}"} for one in found]
        (tmp_path / f"{kind}.json").write_text(json.dumps(named))
    files = {kind: tmp_path / f"{kind}.json" for kind in files}
    assert evaluate_files(files, scored, None, progress=False) == metrics

    # Of a network with one mask branch only, its figures, and those of its boxes if they are asked for; but none by
    # how much is hidden of what was found, which takes both masks.
    of_both = re.compile(r"amodal/|.*(_by_hiding/|AP_visible_ratio/)|inmodal/IoU|iou_matches")
    kept = {name: value for name, value in metrics.items() if not of_both.match(name)}
    assert "inmodal/AR/visible" in kept
    inmodal_only = {"det": files["inmodal"], "inmodal": files["inmodal"]}
    assert evaluate_files(inmodal_only, scored, None, progress=False) == kept


def test_a_file_that_cannot_be_scored_leaves_nothing(config, evaluated, tmp_path):
    path = tmp_path / "cut.json"
    path.write_text((evaluated[1] / "detections_amodal.json").read_text()[:-9])
    with pytest.raises(DataError, match=r"cut\.json: is no complete json file"):
        evaluate_files({"amodal": path}, files_config(config), tmp_path / "scored", progress=False)
    assert not (tmp_path / "scored").exists()


@pytest.fixture(scope="module")
def run(config, network, tmp_path_factory) -> Path:
    """A run directory with a checkpoint of the network, of step 7."""
    workdir = tmp_path_factory.mktemp("run")
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), "batch"), PartitionSpec())
    variables, optimizer_state = jax.device_put((network[1], {"count": np.zeros(1, np.float32)}), everywhere)
    writer = CheckpointWriter(workdir, "last", config)
    writer.save(Checkpoint(step=7, variables=variables, optimizer_state=optimizer_state, position=None))
    writer.close()
    return workdir


def script(*arguments) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "evaluate.py"), *map(str, arguments)]


def test_a_checkpoint_is_all_that_the_script_needs_and_processes_share_the_images(run, evaluated):
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port = server.getsockname()[1]
    # The second process has no means to read the truth, to score or to write.
    without = f"""
import runpy, sys
import amodal_jax.evaluate
if sys.argv[-1] == "1":
    for name in ("read_truth", "evaluate_results", "write_results", "make_folder"):
        setattr(amodal_jax.evaluate, name, None)
runpy.run_path({str(ROOT / "scripts" / "evaluate.py")!r}, run_name="__main__")
"""
    arguments = ["--checkpoint", run, "--coordinator", f"localhost:{port}", "--processes", 2, "--process"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", without, *map(str, [*arguments, index])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, stderr) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, stderr
    assert "checkpoint of step 7" in outputs[0][0]
    for part in ("checkpoint of", "Amodal Seg", "written to"):
        assert part in outputs[0][0]
        assert part not in outputs[1][0]
    metrics, folder = evaluated
    again = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert again["images"] == 3
    assert again["checkpoint"] == {"directory": str(run), "kind": "last", "step": 7}
    assert again["dataset"]["split"] == "train"
    for name, value in metrics.items():
        assert again[name] == pytest.approx(value, abs=1e-3), name
    for name in ("detections_amodal.json", "detections_inmodal.json"):
        one, other = (json.loads((path / name).read_text()) for path in (run / "evaluation", folder))
        assert [result["image_id"] for result in one] == [result["image_id"] for result in other]


def test_the_best_is_evaluated_beside_the_last(run, tmp_path):
    whole = shutil.copytree(run, tmp_path / "run")
    shutil.copytree(run / "checkpoints" / "last" / "7", whole / "checkpoints" / "best" / "7")
    (whole / "evaluation").mkdir(exist_ok=True)
    (whole / "evaluation" / "metrics.json").write_text("of the last")
    result = subprocess.run(script("--checkpoint", whole, "--best"), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert (whole / "evaluation" / "metrics.json").read_text() == "of the last"
    best = json.loads((whole / "evaluation_best" / "metrics.json").read_text())
    assert best["checkpoint"] == {"directory": str(whole), "kind": "best", "step": 7}


def test_a_checkpoint_alone_needs_a_place_for_its_evaluation(run, tmp_path):
    alone = shutil.copytree(run / "checkpoints" / "last" / "7", tmp_path / "some" / "folder" / "7")
    result = subprocess.run(script("--checkpoint", alone), capture_output=True, text=True, timeout=600)
    assert result.returncode == 1
    assert "folder/7: this checkpoint lies in no run directory; name a folder with --out" in result.stderr
    assert not list(tmp_path.rglob("metrics.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.fpn-channels", "3"], "--model.fpn-channels cannot be set"),
        (["--data.directry", "/nowhere"], "did you mean directory"),
    ],
)
def test_what_the_script_cannot_use_is_one_line(run, arguments, message):
    result = subprocess.run(script("--checkpoint", run, *arguments), capture_output=True, text=True, timeout=600)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in result.stderr


def test_the_script_scores_files_of_any_tool(config, evaluated, tmp_path):
    metrics, folder = evaluated
    files = [f"--results-{kind}={folder / f'detections_{kind}.json'}" for kind in ("amodal", "inmodal")]
    places = ["--dataset", config.data.directory, "--data.test-split", "train", "--out", tmp_path]
    result = subprocess.run(script(*files, *places), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert format_table(metrics) in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert {name: content[name] for name in metrics} == metrics


def test_the_script_says_what_is_there_twice_or_not_there_and_strictly_refuses_it(config, evaluated, tmp_path):
    _, folder = evaluated
    found = json.loads((folder / "detections_amodal.json").read_text())
    path = tmp_path / "part.json"
    path.write_text(json.dumps([one for one in found if one["image_id"] == 0] * 2))
    places = ["--dataset", config.data.directory, "--data.test-split", "train", "--out", tmp_path / "out"]
    command = script("--results-amodal", path, *places)
    strict = subprocess.run([*command, "--strict"], capture_output=True, text=True, timeout=600)
    assert strict.returncode == 1
    last = strict.stderr.splitlines()[-1]
    assert last.startswith(f"error: {path}: 10 of 20 results have the image, class, score and place")
    assert "warning" not in strict.stderr
    assert not (tmp_path / "out").exists()

    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    warnings = [number for number, line in enumerate(lines) if line.startswith(f"warning: {path}: ")]
    assert len(warnings) == 2
    assert max(warnings) < next(number for number, line in enumerate(lines) if line.startswith("Amodal Seg"))
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["repeated_detections"] == {"amodal": 10}
    assert content["images_without_detections"] == {"amodal": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name either a --checkpoint, or result files"),
        (["--checkpoint", "run", "--results-det", "a.json"], "name either a --checkpoint, or result files"),
        (["--results-det", "a.json", "--best"], "--best cannot be set"),
        (["--checkpoint", "run", "--strict"], "--strict cannot be set"),
        (["--results-det", "a.json", "--evaluation.score-threshold", "0.5"], "--evaluation.score-threshold cannot be"),
        (["--results-det", "a.json", "--dataset", "/nowhere"], "/nowhere: no such dataset"),
    ],
)
def test_files_and_checkpoints_have_options_of_their_own(arguments, message):
    result = subprocess.run(script(*arguments), capture_output=True, text=True, timeout=600)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr


def test_images_are_in_the_order_of_the_records(config, network):
    from amodal_jax.input_pipeline.batches import evaluation_batches

    counted = []
    batches = evaluation_batches(config, batch_size=8)
    results, image_ids = join_results(detect_images(*network, config, batches, tuple(range(7)), counted.append))
    assert sorted(image_ids) == [0, 1, 2]
    assert counted == [3]
    assert list(dict.fromkeys(one["image_id"] for one in results["det"])) == image_ids
