"""The report of runs whose dataset the real builder made, looked at in a real browser."""

import dataclasses
import html.parser
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from amodal_jax.config import Config
from amodal_jax.config_json import to_json
from amodal_jax.errors import ConfigError, DataError
from amodal_jax.evaluation.metrics import evaluate_results, results_from_truth
from amodal_jax.evaluation.truth import read_truth
from amodal_jax.evaluation.write import write_results
from amodal_jax.visualization import report
from data.synthetic.generate import Request, generate
from tests.helpers.browser import Browser

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 5
HOSTILE = "</script><script>document.title='x'</script><img src=http://evil.invalid/x onerror=alert(1)>\"'&{{metrics}}"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration of a run on a few synthetic scenes."""
    import tensorflow_datasets as tfds

    from data.kins.kins_dataset_builder import Builder

    tfds.disable_progress_bar()
    scenes = tmp_path_factory.mktemp("scenes")
    generate(scenes / "all", Request(1, IMAGES, seed=3, width=414, height=125, traffic="light"), workers=1)
    builder = Builder(data_dir=tmp_path_factory.mktemp("datasets"))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=scenes / "all"))
    config = Config(name="asn_small")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, directory=str(builder.data_path)))


def write_log(run_dir):
    entries = [
        {"step": 20 * n, "loss": 3.0 / n, "classification": 1.0 / n, "box": 2.0 / n, "images_per_second": 7.5}
        for n in range(1, 1001)
    ]
    entries.append(
        {"step": 20_000, "det/AP": 0.25, "amodal/AP": 0.125, "amodal/AP50": 0.5, "det/AP/car": 0.3, "images": 5}
    )
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.fixture(scope="module")
def run_dir(config, tmp_path_factory):
    """A run that finds everything, some of it with a low score, and one object that is not there."""
    run_dir = tmp_path_factory.mktemp("runs") / "small"
    run_dir.mkdir()
    (run_dir / "config.json").write_text(to_json(config))
    write_log(run_dir)
    truth = read_truth(config)
    results = results_from_truth(truth)
    for kind, found in results.items():
        results[kind] = [one | {"score": 0.9 if index % 3 else 0.3} for index, one in enumerate(found)]
    metrics = evaluate_results(truth, results)
    image_id, (height, width) = next(iter(truth.image_sizes.items()))
    nowhere = np.zeros((height, width), np.uint8)
    nowhere[2:12, 2:22] = 1
    rle = coco_mask.encode(np.asfortranarray(nowhere))
    rle["counts"] = rle["counts"].decode()
    wrong = {"image_id": image_id, "category_id": 4, "bbox": [2, 2, 20, 10], "score": 0.8, "occluded": 0.7}
    for kind in ("amodal", "inmodal"):
        results[kind].append(wrong | {"segmentation": rle})
    measured = {
        "checkpoint": {"directory": str(run_dir), "kind": "last", "step": 20_000},
        "dataset": {"directory": config.data.directory, "split": "test"},
    }
    write_results(run_dir / "evaluation", results, metrics, measured)
    return run_dir


@pytest.fixture(scope="module")
def page(run_dir):
    return report.write_report(run_dir)


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path / "profile") as browser:
        yield browser


class Elements(html.parser.HTMLParser):
    """Every element of a page, as (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def displayed(selector):
    return f"getComputedStyle(document.querySelector({selector!r})).display !== 'none'"


def test_page_has_figures_curves_and_gallery(page, run_dir, config):
    assert page == run_dir / "report.html"
    text = page.read_text()
    elements = Elements(text).found
    assert text.count('<article class="card') == IMAGES
    assert text.count('<figure class="chart">') == 4  # loss, its terms, average precision, images per second
    metrics = json.loads((run_dir / "evaluation" / "metrics.json").read_text())
    assert f"<td>{100 * metrics['amodal/AP75']:.1f}</td>" in text
    assert "Mean IoU of the" in text
    assert f"<td>{100 * metrics['hidden/IoU']:.1f}</td>" in text
    assert f"<p>Checkpoint of step 20,000, split “test” of {config.data.directory}.</p>" in text
    assert "missing" not in {attributes.get("class") for _, attributes in elements}
    truth = read_truth(config)
    outlined = sum(attributes.get("class") == "stroke" and attributes["id"][2] == "t" for _, attributes in elements)
    assert outlined == len(truth.instances)
    names = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))


def test_page_works_in_a_browser(page, browser):
    browser.open(page)
    assert browser.messages == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.evaluate("document.title") == "small: asn_small"
    for layer in (".outlines", ".fills", ".hidden-parts", ".labels"):
        assert browser.evaluate(displayed(layer))
    assert not browser.evaluate(displayed(".boxes"))
    # Labels have been placed, each within its picture.
    assert browser.evaluate("""
        [...document.querySelectorAll(".label:not(.under) .plate")].every((element) => {
          const plate = element.getBoundingClientRect();
          const frame = element.ownerSVGElement.getBoundingClientRect();
          return plate.width > 10 && plate.left > frame.left - 1 && plate.right < frame.right + 1
            && plate.top > frame.top - 1 && plate.bottom < frame.bottom + 1;
        })""")
    images = "[...document.querySelectorAll('.definitions image')].map((image) => image.getAttribute('href'))"
    assert all(source.startswith("data:image/jpeg;base64,") for source in browser.evaluate(images))


def test_address_chooses_the_layers(page, browser):
    browser.open(page, "#hide=labels,fill&show=boxes&view=prediction&score=0.85")
    assert not browser.evaluate(displayed(".labels"))
    assert not browser.evaluate(displayed(".fills"))
    assert browser.evaluate(displayed(".hidden-parts"))
    assert browser.evaluate(displayed(".boxes"))
    assert not browser.evaluate(displayed("figure.truth"))
    shown = "document.querySelectorAll('.predicted .outlines .object:not(.under)').length"
    assert browser.evaluate(shown) == browser.evaluate("document.querySelectorAll('.stroke[id*=p]').length") - (
        browser.evaluate("document.querySelectorAll('.outlines [data-score=\"0.3000\"]').length") + 1
    )


def test_controls_change_the_pictures_and_the_address(page, browser):
    browser.open(page)
    for name, layer in (("outline", ".outlines .stroke"), ("fill", ".fills"), ("hatch", ".hidden-parts")):
        visible = f"(s => s.display !== 'none' && s.stroke)(getComputedStyle(document.querySelector({layer!r})))"
        before = browser.evaluate(visible)
        browser.evaluate(f"document.getElementById('show-{name}').click()")
        assert browser.evaluate(visible) in (False, "none") != before
    browser.evaluate("document.getElementById('view-truth').click()")
    assert not browser.evaluate(displayed("figure.predicted"))
    assert browser.evaluate("location.hash") == "#hide=outline,fill,hatch&view=truth"
    browser.evaluate("document.getElementById('view-both').click()")
    before = browser.evaluate("document.querySelector('.predicted .count').textContent")
    slide = "(s => { s.value = 0.05; s.dispatchEvent(new Event('input', {bubbles: true})); })"
    browser.evaluate(f"{slide}(document.getElementById('score'))")
    assert browser.evaluate("document.querySelectorAll('.under').length") == 0
    assert browser.evaluate("document.querySelector('.predicted .count').textContent") != before
    # Pointing at an object sets it and its counterpart off from the others.
    browser.evaluate(
        "document.querySelector('.truth .stroke').dispatchEvent(new Event('pointerover', {bubbles: true}))"
    )
    assert browser.evaluate("document.querySelectorAll('.card.pointed .predicted .outlines .match').length") == 1
    browser.evaluate("document.querySelector('.enlarge').click()")
    assert browser.evaluate("document.querySelector('.card').getBoundingClientRect().height") == browser.evaluate(
        "innerHeight"
    )
    browser.evaluate("dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    assert browser.evaluate("document.querySelector('.enlarged')") is None
    assert browser.messages == []


def test_pointing_at_a_curve_shows_its_values(page, browser):
    browser.open(page)
    point = """(() => {
      const svg = document.querySelectorAll(".chart svg")[1], frame = svg.getBoundingClientRect();
      svg.dispatchEvent(new PointerEvent("pointermove", {clientX: frame.right, clientY: frame.top + 20}));
      return document.querySelectorAll(".readout")[1].innerText.split("\\n");
    })()"""
    # 1000 entries are thinned to means of two.
    assert browser.evaluate(point) == ["step", "19,990", "classification", "0.001001", "box", "0.002001"]


def test_nothing_sticks_out_on_a_narrow_screen(page, browser):
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=2, mobile=False)
    browser.open(page)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    sides = "['truth', 'predicted'].map((side) => document.querySelector('.' + side).getBoundingClientRect())"
    assert browser.evaluate(f"(([a, b]) => a.left === b.left && b.top >= a.bottom)({sides})")


def test_prediction_has_the_colour_of_what_it_matches(page):
    objects = [
        (attributes["class"].split()[1], attributes["data-key"])
        for tag, attributes in Elements(page.read_text().split("<article")[1]).found
        if tag == "g" and attributes.get("class", "").startswith("object c")
    ]
    keys = [key for _, key in objects]
    assert keys.count("t0") == 2, "annotated and predicted"
    assert all(len({colour for colour, other in objects if other == key}) == 1 for key in keys)
    unmatched = [key for key in keys if key.startswith("p")]
    assert len(unmatched) == 1, "the object that is not there"


def test_missing_parts_are_named_in_their_place(tmp_path, config):
    absent = dataclasses.replace(config, data=dataclasses.replace(config.data, directory=str(tmp_path / "none")))
    (tmp_path / "config.json").write_text(to_json(absent))
    text = report.write_report(tmp_path, tmp_path / "new" / "page.html").read_text()
    assert text.count('<p class="missing">') == 3
    assert "Not evaluated yet" in text
    assert "No losses are logged yet" in text
    assert f"No gallery: {tmp_path}/none: no such dataset" in text


def test_ground_truth_alone_without_an_evaluation(tmp_path, config):
    (tmp_path / "config.json").write_text(to_json(config))
    text = report.write_report(tmp_path, images=2).read_text()
    assert text.count('<article class="card') == 2
    assert 'class="truth"' in text
    assert 'class="predicted"' not in text
    assert "only the ground truth to see" in text


def test_dataset_of_other_classes_gives_no_gallery(tmp_path, config):
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=("boat",)))
    (tmp_path / "config.json").write_text(to_json(other))
    assert "No gallery: the run has the classes boat" in report.write_report(tmp_path).read_text()


def test_nothing_from_data_becomes_markup(tmp_path, browser, monkeypatch):
    run_dir = tmp_path / "<b>run"
    (run_dir / "evaluation").mkdir(parents=True)
    config = Config(name=HOSTILE)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=(HOSTILE,)))
    (run_dir / "config.json").write_text(to_json(config))
    (run_dir / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": step, HOSTILE.replace("/", ""): 1.0, "loss": 2.0}) + "\n" for step in (1, 2))
    )
    metrics = {"det/AP": 0.5, f"det/AP/{HOSTILE}": 0.5, "images": 1, "detections": 1}
    mask = np.zeros((40, 60), np.uint8)
    mask[5:35, 10:50] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    found = {"image_id": 7, "category_id": 1, "bbox": [10, 5, 40, 30], "score": 0.9, "occluded": 0.9}
    found["segmentation"] = {"size": [40, 60], "counts": rle["counts"].decode()}
    write_results(run_dir / "evaluation", {"det": [found], "amodal": [found], "inmodal": [found]}, metrics)
    record = {
        "image": cv2.imencode(".png", np.zeros((40, 60, 3), np.uint8))[1].tobytes(),
        "image/id": 7,
        "image/filename": HOSTILE.encode(),
        "objects": {
            "id": np.array([1]),
            "label": np.array([0]),
            "amodal_bbox": np.array([[10, 5, 50, 35]]),
            "amodal_rle": [rle["counts"]],
            "inmodal_rle": [rle["counts"]],
            "occlusion_ratio": np.array([0.3]),
            "is_crowd": np.array([False]),
        },
    }
    monkeypatch.setattr(report, "_chosen_records", lambda config, count: ({1: HOSTILE}, [record], 1))
    page = report.write_report(run_dir, tmp_path / "page.html")
    tags = [tag for tag, _ in Elements(page.read_text()).found]
    assert "img" not in tags
    assert "b" not in tags
    browser.open(page)
    assert browser.messages == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.evaluate("document.title") == f"<b>run: {HOSTILE}"
    assert browser.evaluate("document.querySelector('.card h3').textContent") == HOSTILE
    assert browser.evaluate("document.querySelector('.predicted .label').textContent") == f"{HOSTILE} 0.90occluded"
    assert browser.evaluate("document.querySelectorAll('img, b').length") == 0


def test_size_stays_bounded(tmp_path, monkeypatch):
    """Pictures that no JPEG makes small are made small all the same."""
    rng = np.random.default_rng(0)
    noise = cv2.imencode(".png", rng.integers(0, 256, (800, 1200, 3), dtype=np.uint8))[1].tobytes()
    empty = {"label": [], "id": [], "is_crowd": []}
    records = [
        {"image": noise, "image/id": number, "image/filename": b"noise.png", "objects": empty} for number in range(12)
    ]
    monkeypatch.setattr(report, "_chosen_records", lambda config, count: ({}, records, len(records)))
    (tmp_path / "config.json").write_text(to_json(Config()))
    assert report.write_report(tmp_path).stat().st_size < 15_000_000


def test_damaged_runs_are_refused_by_file(tmp_path, config):
    with pytest.raises(ConfigError, match=r"no run directory \(it has no config\.json\)"):
        report.write_report(tmp_path)
    (tmp_path / "config.json").write_text('{"nonsense": 1}')
    with pytest.raises(ConfigError, match=r"config\.json: unknown field nonsense"):
        report.write_report(tmp_path)
    (tmp_path / "config.json").write_text(to_json(config))
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json: is no JSON"):
        report.write_report(tmp_path)
    (tmp_path / "evaluation" / "metrics.json").write_text('{"det/AP": "0.5"}')
    with pytest.raises(DataError, match=r"metrics\.json: holds no figures"):
        report.write_report(tmp_path)
    (tmp_path / "evaluation" / "metrics.json").write_text('{"det/AP": 0.5}')
    (tmp_path / "evaluation" / "detections_amodal.json").write_text('[{"image_id": 1}]')
    with pytest.raises(DataError, match=r"detections_amodal\.json: is no list of results with bbox, category_id"):
        report.write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_command_line(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "report.py", str(tmp_path)]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {tmp_path}: no run directory")
    assert failed.stderr.count("\n") == 1
