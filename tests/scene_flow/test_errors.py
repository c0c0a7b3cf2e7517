"""D1, D2, Fl and SF on pixels that can be counted by hand."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from amodal_jax.errors import DataError
from amodal_jax.scene_flow.errors import format_errors, outliers, scene_flow_errors
from amodal_jax.scene_flow.maps import Map

ROOT = Path(__file__).resolve().parents[2]
NAME = "000000_10.png"


def disparity(values) -> np.ndarray:
    """A row as it is stored; 0 is no value."""
    return np.rint(256 * np.array([values])).astype(np.uint16)


def flow(vectors) -> np.ndarray:
    """A row of (u, v), or None, as OpenCV writes it: blue, green, red."""
    stored = [[0, 0, 0] if one is None else [1, 64 * one[1] + 32768, 64 * one[0] + 32768] for one in vectors]
    return np.rint(np.array([stored])).astype(np.uint16)


def write(folder: Path, maps: dict[str, np.ndarray], name: str = NAME) -> Path:
    for place, pixels in maps.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / place / name), pixels)
    return folder


# Six pixels: the last two are an object; the third has no true first disparity, the fourth no true flow.
TRUTH = {
    "disp_occ_0": disparity([10, 100, 0, 100, 50, 50]),
    "disp_occ_1": disparity([10, 100, 20, 100, 50, 50]),
    "flow_occ": flow([(0, 0), (60, 80), (0, 0), None, (10, 0), (10, 0)]),
    "obj_map": np.array([[0, 0, 0, 0, 1, 2]], np.uint8),
}
RESULTS = {
    # 3 off is not more than 3; 4.5 of 100 is not more than 5 %; no truth; 6 of 100 is wrong; right; 3.5 of 50 is wrong.
    "disp_0": disparity([13, 104.5, 90, 106, 50, 46.5]),
    # 3.5 of 10 is wrong; none is given and 10 is the lesser neighbour's: wrong; right; right; right; right
    "disp_1": disparity([13.5, 0, 20, 100, 50, 50]),
    # (3, 3) is 4.2 off: wrong; (0, 4) of 100 is not; right; no truth; 4 of 10 is wrong; right
    "flow": flow([(3, 3), (60, 84), (0, 0), (500, 500), (10, 4), (10, 0)]),
}


def test_every_error_by_hand(tmp_path):
    counts, images = scene_flow_errors(write(tmp_path / "r", RESULTS), write(tmp_path / "t", TRUTH))
    assert images == 1
    by_hand = {  # wrong and counted: background, foreground
        "D1": ((1, 3), (1, 2)),
        "D2": ((2, 4), (0, 2)),
        "Fl": ((1, 3), (1, 2)),
        "SF": ((2, 2), (2, 2)),
    }
    for error, ((wrong, pixels), (object_wrong, object_pixels)) in by_hand.items():
        assert counts[error].wrong == {"background": wrong, "foreground": object_wrong, "all": wrong + object_wrong}
        assert counts[error].pixels == {
            "background": pixels,
            "foreground": object_pixels,
            "all": pixels + object_pixels,
        }
    assert [counts[error].given for error in by_hand] == [5, 5, 5, 4]
    lines = [line.split() for line in format_errors(counts, images).splitlines()]
    assert lines == [
        ["%", "D1", "D2", "Fl", "SF"],
        ["background", "33.33", "50.00", "33.33", "100.00"],
        ["foreground", "50.00", "0.00", "50.00", "100.00"],
        ["all", "40.00", "33.33", "40.00", "100.00"],
        ["given", "100.00", "83.33", "100.00", "100.00"],
        ["1", "images"],
    ]


def test_the_truth_has_no_errors(tmp_path):
    truth = write(tmp_path / "t", TRUTH)
    results = write(
        tmp_path / "r", {"disp_0": TRUTH["disp_occ_0"], "disp_1": TRUTH["disp_occ_1"], "flow": TRUTH["flow_occ"]}
    )
    counts, _ = scene_flow_errors(results, truth)
    assert {count.wrong["all"] for count in counts.values()} == {0}


def test_shares_are_of_all_pixels_and_not_means_over_images(tmp_path):
    truth, results = write(tmp_path / "t", TRUTH), write(tmp_path / "r", RESULTS)
    good = {"disp_0": TRUTH["disp_occ_0"], "disp_1": TRUTH["disp_occ_1"], "flow": TRUTH["flow_occ"]}
    nothing = {"disp_occ_0": disparity([10, 0, 0, 0, 0, 0])}
    write(truth, TRUTH | nothing, "000001_10.png")
    write(results, good, "000001_10.png")
    counts, images = scene_flow_errors(results, truth)
    assert images == 2
    assert counts["D1"].share("all") == pytest.approx(2 / 6)
    assert counts["D1"].share("foreground") == pytest.approx(1 / 2)


def test_only_what_is_there_is_measured_and_of_whole_images(tmp_path):
    truth = write(tmp_path / "t", TRUTH)
    stereo = write(tmp_path / "stereo", {"disp_0": RESULTS["disp_0"]})
    counts, _ = scene_flow_errors(stereo, truth)
    assert list(counts) == ["D1"]
    with pytest.raises(DataError, match=r"disp_noc_0/000000_10\.png: cannot be read"):
        scene_flow_errors(stereo, truth, occluded=False)
    write(stereo, {"flow": RESULTS["flow"]}, "000001_10.png")
    with pytest.raises(DataError, match=r"disp_0: has no 000001_10\.png"):
        scene_flow_errors(stereo, truth)
    with pytest.raises(DataError, match=r"empty: has no maps in disp_0, disp_1, flow"):
        scene_flow_errors(tmp_path / "empty", truth)
    small = write(tmp_path / "small", {"disp_0": RESULTS["disp_0"][:, :4]})
    with pytest.raises(DataError, match=r"small/disp_0/000000_10\.png: has 4 x 1 pixels, its ground truth 6 x 1"):
        scene_flow_errors(small, truth)


def test_five_per_cent_is_reckoned_as_the_development_kit_reckons():
    """In float32 4 / 80 is a little over 5 %, and 3.25 / 65 is, too; a flow of nothing is missed by infinite shares."""

    def one(value, channels=1) -> Map:
        return Map(np.full((1, 1, channels), value, np.float32), np.ones((1, 1), bool))

    assert np.float32(4) / np.float32(80) > np.float64(0.05)
    assert outliers(one(84), one(80)).all()
    assert not outliers(one(83.75), one(80)).any()
    assert outliers(one(3, channels=2), one(0, channels=2)).all()
    assert not outliers(one(2, channels=2), one(0, channels=2)).any()


def test_the_command_prints_the_table_and_writes_the_counts(tmp_path):
    truth, results = write(tmp_path / "t", TRUTH), write(tmp_path / "r", RESULTS)
    command = [sys.executable, str(ROOT / "scripts" / "scene_flow.py"), str(results), "--truth"]
    finished = subprocess.run(
        [*command, str(truth), "--json", str(tmp_path / "out" / "errors.json")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    assert "all            40.00   33.33   40.00  100.00" in finished.stdout
    written = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert written["SF"]["wrong"]["all"] == written["SF"]["pixels"]["all"] == 4
    assert written["images"] == 1
    failed = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in failed.stderr
