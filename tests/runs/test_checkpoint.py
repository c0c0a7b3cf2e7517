import contextlib
import dataclasses
import logging
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from amodal_jax.cli.libraries import ignore_late_callbacks
from amodal_jax.errors import CheckpointError, ConfigError
from amodal_jax.network import build_network, initialise
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_reader import best_evaluation, last_config, load_checkpoint, restore_last
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from amodal_jax.runs.directory import evaluation_folder, read_config, run_of, write_config
from amodal_jax.training.optimizer import make_optimizer
from tests.helpers.full_disk import files_limited_to
from tests.helpers.micro import micro_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = micro_config()


@pytest.fixture(scope="module")
def variables():
    """Of a real network, with other values than it starts with."""
    detector = build_network(CONFIG)
    shapes = jax.eval_shape(lambda key: initialise(detector, CONFIG, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def checkpoint_of(step, variables, metrics=None, unlogged=None):
    """The variables plus `step`, on all devices, with an optimiser's state and a position."""
    moved = jax.tree.map(lambda leaf: leaf + np.float32(step), variables)
    optimizer = make_optimizer(CONFIG.train, frozen=("backbone/conv1", "backbone/bn1", "backbone/layer1_"))
    shapes = jax.eval_shape(optimizer.init, moved["params"])
    state = jax.tree.map(lambda leaf: np.full(leaf.shape, 2 * step, leaf.dtype), shapes)
    everywhere = NamedSharding(Mesh(np.array(jax.local_devices()), "batch"), PartitionSpec())
    moved, state = jax.device_put((moved, state), everywhere)
    return Checkpoint(step, moved, state, {"batches": step}, metrics, unlogged)


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory, variables):
    """A run directory with checkpoints of steps 1 to 3, of which two are kept."""
    folder = tmp_path_factory.mktemp("saved")
    with contextlib.closing(CheckpointWriter(folder, "last", CONFIG)) as writer:
        for step in (1, 2, 3):
            writer.save(checkpoint_of(step, variables))
    return folder


@pytest.fixture
def run(saved_run, tmp_path):
    """A copy of it for one test alone."""
    return shutil.copytree(saved_run, tmp_path, dirs_exist_ok=True)


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def kept(run, kind="last"):
    return sorted(int(path.name) for path in (run / "checkpoints" / kind).iterdir() if path.name.isdigit())


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def damage(path, kind):
    content = path.read_bytes()
    if kind == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "changed":
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
    else:
        path.unlink()


def test_what_is_saved_comes_back(run, variables):
    expected = checkpoint_of(3, variables)
    found = restore_last(run, expected.variables, expected.optimizer_state)
    assert kept(run) == [2, 3]
    assert (found.step, found.position) == (3, {"batches": 3})
    assert_same(found.variables, expected.variables)
    assert_same(found.optimizer_state, expected.optimizer_state)


def test_a_checkpoint_needs_nothing_but_its_path(run, variables, tmp_path_factory):
    for path in (run, run / "checkpoints" / "last" / "3", str(run)):
        config, found, step = load_checkpoint(path)
        assert (config, step) == (CONFIG, 3)
        assert_same(found, checkpoint_of(3, variables).variables)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "2"
    shutil.copytree(run / "checkpoints" / "last" / "2", elsewhere)
    assert load_checkpoint(elsewhere)[2] == 2


def test_sums_of_figures_come_back_bit_for_bit(tmp_path, variables):
    one = checkpoint_of(1, variables, unlogged={"steps": 3.0, "loss": 0.1 + 0.2})
    with contextlib.closing(CheckpointWriter(tmp_path, "last", CONFIG)) as writer:
        writer.save(one)
    assert restore_last(tmp_path, variables, one.optimizer_state).unlogged == {"steps": 3.0, "loss": 0.1 + 0.2}


def test_a_step_that_is_saved_again_is_replaced(tmp_path, variables):
    """A run that fell back to an older checkpoint comes by the step of its best one again."""
    for score in (0.25, 0.5):
        with contextlib.closing(CheckpointWriter(tmp_path, "best", CONFIG)) as writer:
            writer.save(checkpoint_of(1, variables, {"amodal/AP": score}))
            writer.save(checkpoint_of(1, variables, {"amodal/AP": score + 0.125}))
        assert best_evaluation(tmp_path) == (CONFIG, {"amodal/AP": score + 0.125})
    assert kept(tmp_path, "best") == [1]


def test_the_configuration_is_the_checkpoints_own(run, tmp_path):
    assert not (run / "config.json").exists()
    assert last_config(run) == CONFIG
    assert last_config(tmp_path / "nowhere") is None


def test_an_evaluation_belongs_to_the_run_of_its_checkpoint(run, tmp_path_factory):
    last = run / "checkpoints" / "last"
    assert run_of(run) == run_of(last / "3") == (run, "last")
    assert run_of(run, kind="best") == (run, "best")
    best = last.with_name("best")
    shutil.copytree(last, best)
    assert run_of(best / "3") == (run, "best")
    assert evaluation_folder(run, "last") != evaluation_folder(run, "best")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a" / "b" / "3"
    shutil.copytree(last / "3", elsewhere)
    assert run_of(elsewhere) is None


def test_saving_copies_before_it_returns(tmp_path, variables):
    checkpoint = checkpoint_of(1, variables)
    writer = CheckpointWriter(tmp_path, "last", CONFIG)
    writer.save(checkpoint)
    for leaf in jax.tree.leaves((checkpoint.variables, checkpoint.optimizer_state)):
        leaf.delete()  # as the next step does, which is given them
    writer.close()
    assert_same(load_checkpoint(tmp_path)[1], checkpoint_of(1, variables).variables)


def test_the_best_is_kept_apart(run, variables):
    assert best_evaluation(run) is None
    with pytest.raises(CheckpointError, match="best: there is no checkpoint, for the run has not been evaluated"):
        load_checkpoint(run, kind="best")
    writer = CheckpointWriter(run, "best", CONFIG)
    for step, score in ((1, 0.25), (2, 0.5)):
        writer.save(checkpoint_of(step, variables, {"amodal/AP": score}))
    writer.close()
    assert kept(run, "best") == [2]
    assert best_evaluation(run) == (CONFIG, {"amodal/AP": 0.5})
    assert load_checkpoint(run, kind="best")[2] == 2
    assert load_checkpoint(run)[2] == 3


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ("variables", "cut off"),
        ("variables", "changed"),
        ("optimizer", "changed"),
        ("info", "cut off"),
        ("info", "gone"),
    ],
)
def test_the_last_good_one_is_used_and_said(run, variables, caplog, monkeypatch, item, kind):
    late = []
    monkeypatch.setattr(sys, "unraisablehook", late.append)
    ignore_late_callbacks()  # as commands do
    damage(largest_file(run / "checkpoints" / "last" / "3" / item), kind)
    expected = checkpoint_of(2, variables)
    with caplog.at_level(logging.WARNING):
        found = restore_last(run, expected.variables, expected.optimizer_state)
    assert found.step == 2
    assert_same(found.variables, expected.variables)
    assert "last/3: this checkpoint is damaged" in caplog.text
    assert "the last good checkpoint, of step 2, is used" in caplog.text
    assert not late
    # Room is made for the run to come by again.
    assert kept(run) == [2]
    assert kept(run, "damaged") == [3]
    writer = CheckpointWriter(run, "last", CONFIG)
    writer.save(checkpoint_of(3, variables))
    writer.close()
    assert kept(run) == [2, 3]


def test_an_evaluation_falls_back_too_and_leaves_everything_where_it_is(run, caplog):
    damage(largest_file(run / "checkpoints" / "last" / "3" / "variables"), "cut off")
    assert load_checkpoint(run)[2] == 2
    assert "this checkpoint is damaged" in caplog.text
    assert kept(run) == [2, 3]
    with pytest.raises(CheckpointError, match="no good checkpoint: 3 cannot be read"):
        load_checkpoint(run / "checkpoints" / "last" / "3")


def test_a_run_whose_process_was_killed_while_it_wrote_goes_on(run, variables):
    unfinished = run / "checkpoints" / "last" / "4.orbax-checkpoint-tmp"
    shutil.copytree(run / "checkpoints" / "last" / "3", unfinished)
    assert restore_last(run, variables, checkpoint_of(3, variables).optimizer_state).step == 3
    CheckpointWriter(run, "last", CONFIG).close()
    assert kept(run) == [2, 3]
    assert not unfinished.exists()


def test_nothing_good_is_an_error(run, variables, tmp_path_factory):
    for step in (2, 3):
        shutil.rmtree(run / "checkpoints" / "last" / str(step) / "variables")
    one = checkpoint_of(1, variables)
    with pytest.raises(CheckpointError, match="no good checkpoint: 3, 2 cannot be read"):
        restore_last(run, one.variables, one.optimizer_state)
    empty = tmp_path_factory.mktemp("empty")
    assert restore_last(empty, one.variables, one.optimizer_state) is None
    for place, words in (
        (empty, "has no checkpoints"),
        (empty / "nowhere", "there is no such folder"),
        (run / "checkpoints" / "last", "has no checkpoints"),
    ):
        with pytest.raises(CheckpointError, match=f"{place.name}: {words}; name the --workdir"):
            load_checkpoint(place)
    (empty / "weights.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"weights.npz: is a file; .* scripts/import_weights.py\) makes"):
        load_checkpoint(empty / "weights.npz")


def test_another_network_is_refused_by_the_parameters_name(run, variables):
    one = checkpoint_of(1, variables)
    wider = jax.tree.map(lambda leaf: leaf, variables)
    wider["params"]["backbone"]["conv1"]["kernel"] = np.zeros((7, 7, 3, 64), np.float32)
    with pytest.raises(
        CheckpointError, match=r"params/backbone/conv1/kernel is \(7, 7, 3, 8\) in the checkpoint and \(7, 7, 3, 64\)"
    ):
        restore_last(run, wider, one.optimizer_state)
    with pytest.raises(CheckpointError, match="does not fit the configuration: optimizer"):
        restore_last(run, variables, optax.sgd(0.1).init(variables["params"]))


def test_a_configuration_that_does_not_fit_its_checkpoint_is_refused(tmp_path, variables):
    heads = dataclasses.replace(CONFIG.model.heads, inmodal_mask=False)
    other = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, heads=heads))
    writer = CheckpointWriter(tmp_path, "last", other)
    writer.save(checkpoint_of(1, variables))
    writer.close()
    with pytest.raises(CheckpointError, match=r"inmodal_mask_head/\S+ is \(.*\) in the checkpoint and absent"):
        load_checkpoint(tmp_path)


def test_a_full_disk_leaves_the_last_good_one(run, variables):
    class LateThread(threading.Thread):
        """One of Orbax's that still makes files when another has failed."""

        __module__ = "orbax.checkpoint"

        def run(self):
            time.sleep(2)
            (folder / "4.orbax-checkpoint-tmp" / "late").mkdir(parents=True)

    folder = run / "checkpoints" / "last"
    writer = CheckpointWriter(run, "last", CONFIG)
    late = LateThread()
    late.start()
    with (
        files_limited_to(10_000),
        pytest.raises(CheckpointError, match="could not be written .* the newest good one is of step 3"),
        contextlib.closing(writer),
    ):
        writer.save(checkpoint_of(4, variables))
    late.join()
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    assert restore_last(run, variables, checkpoint_of(3, variables).optimizer_state).step == 3


def test_a_full_disk_is_one_line(tmp_path):
    """Of the many writes that fail at once, each in a thread of its own."""
    code = f"""
import contextlib, pathlib
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from amodal_jax.cli import command_line
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from tests.helpers.full_disk import files_limited_to
from tests.helpers.micro import micro_config

def main():
    variables = {{str(i): np.random.default_rng(i).random(20_000) for i in range(60)}}
    variables = jax.device_put(variables, NamedSharding(Mesh(np.array(jax.local_devices()), "batch"), PartitionSpec()))
    writer = CheckpointWriter(pathlib.Path({str(tmp_path)!r}), "last", micro_config())
    with files_limited_to(10_000), contextlib.closing(writer):
        writer.save(Checkpoint(1, variables, variables, None))

command_line.run(main)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (result.returncode, result.stderr) == (
        1,
        f"error: {tmp_path}/checkpoints/last: a checkpoint could not be written (File too large); there is no good one "
        "yet. Mend this, then run the same command again\n",
    )


def test_the_run_directorys_configuration(tmp_path):
    assert read_config(tmp_path / "run") is None
    write_config(tmp_path / "run", CONFIG)
    assert read_config(tmp_path / "run") == CONFIG
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run/config\.json: the configuration is not JSON"):
        read_config(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_bytes(b"\xb0\xa1")
    with pytest.raises(ConfigError, match=r"run/config\.json: is not UTF-8"):
        read_config(tmp_path / "run")


def test_the_configuration_of_a_run_is_that_of_its_newest_checkpoint(run):
    """Whatever has become of `config.json`, so that nobody goes on with other values by accident."""
    other = dataclasses.replace(CONFIG, name="other")
    assert last_config(run) == CONFIG
    write_config(run, other)
    assert last_config(run) == CONFIG
    (run / "config.json").write_text("{")
    damage(largest_file(run / "checkpoints" / "last" / "3" / "info"), "gone")
    (run / "checkpoints" / "last" / "²").mkdir()
    assert last_config(run) == CONFIG
    shutil.rmtree(run / "checkpoints")
    assert last_config(run) is None


def test_a_configuration_of_another_version_is_named(run):
    info = largest_file(run / "checkpoints" / "last" / "3" / "info")
    info.write_bytes(info.read_bytes().replace(b"fpn_channels", b"fpn_channelz"))
    with pytest.raises(CheckpointError, match=r"last/3: its configuration cannot be used: .*fpn_channelz"):
        load_checkpoint(run)
