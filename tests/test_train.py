import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from amodal_jax.build import build_detector, initialise
from amodal_jax.checkpoint import load_checkpoint, read_config, write_config, write_network
from amodal_jax.config import field_lines
from amodal_jax.errors import CheckpointError, ConfigError, DataError, TrainingError
from amodal_jax.optimizer import make_optimizer
from amodal_jax.train import config_to_start_from, create_state, parallel_train_step, train
from amodal_jax.transfer import transfer
from tests.micro import micro_batch, micro_config

ROOT = Path(__file__).resolve().parents[1]
DEVICES = 8


def with_train(config, **changes):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


def with_data(config, **changes):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


# Without weight decay the first step's momentum is the gradient, bit for bit.
CONFIG = with_train(
    micro_config(),
    steps=5,
    batch_size=DEVICES,
    learning_rate=0.01,
    weight_decay=0.0,
    checkpoint_every=3,
    evaluate_every=0,
)


class Interrupted:
    """A data set's batches, with a SIGTERM to this process when the `after`-th is taken."""

    def __init__(self, config, after):
        from amodal_jax.input_pipeline import training_batches

        self._batches = training_batches(config, batch_size=DEVICES)
        self._after = after
        self.get_state, self.set_state = self._batches.get_state, self._batches.set_state

    def __iter__(self):
        return self

    def __next__(self):
        if self._batches.get_state()["batches"] + 1 == self._after:
            os.kill(os.getpid(), signal.SIGTERM)
        return next(self._batches)


def assert_bit_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), strict=True)


def logged(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


@pytest.fixture(scope="module")
def config(tiny_dataset):
    return with_data(CONFIG, directory=str(tiny_dataset))


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory):
    """A run of five steps: its directory and last state."""
    workdir = tmp_path_factory.mktemp("unbroken")
    return workdir, train(config, workdir)


def one_step(devices):
    detector = build_detector(CONFIG)
    optimizer = make_optimizer(CONFIG.train)
    state = create_state(initialise(detector, CONFIG, jax.random.key(0)), optimizer)
    count = len(devices)
    batch = jax.tree.map(lambda leaf: leaf.reshape(count, DEVICES // count, *leaf.shape[1:]), micro_batch(DEVICES))
    step = parallel_train_step(detector, optimizer, CONFIG, devices=devices)
    return step(state, batch, np.zeros(count, np.int32))


def test_eight_devices_take_the_step_of_one():
    """On the same global batch, whose images differ in their number of instances, and so devices in their counts."""
    state, metrics = one_step(jax.devices()[:DEVICES])
    replicas = [[shard.data for shard in leaf.addressable_shards] for leaf in jax.tree.leaves((state, metrics))]
    assert all(len(copies) == DEVICES for copies in replicas)
    for first, *others in replicas:
        for other in others:
            np.testing.assert_array_equal(first, other, strict=True)

    alone, alone_metrics = one_step(jax.devices()[:1])
    assert metrics.keys() == alone_metrics.keys()
    for name in metrics:
        assert float(metrics[name]) == pytest.approx(float(alone_metrics[name]), rel=1e-4), name
    gradients, expected = (jax.tree_util.tree_leaves_with_path(one.optimizer_state[1].trace) for one in (state, alone))
    assert sum(float(np.abs(leaf).max()) > 0 for _, leaf in gradients) > 100
    worst = []
    for (path, leaf), (_, other) in zip(gradients, expected, strict=True):
        # Terms of either sign cancel in a sum over all pixels, and float32 rounds them in an order that depends on the
        # batch's shape; a mean of the devices' means in place of the global one would be off by tens of per cent.
        difference = np.linalg.norm(np.asarray(leaf) - np.asarray(other)) / (np.linalg.norm(other) + 1e-7)
        worst.append((float(difference), jax.tree_util.keystr(path)))
    assert max(worst)[0] < 0.01, sorted(worst)[-5:]
    assert np.median([difference for difference, _ in worst]) < 1e-3, sorted(worst)[-5:]


def test_a_run_writes_what_it_is_to_leave(config, unbroken):
    workdir, state = unbroken
    assert int(state.step) == 5
    assert read_config(workdir) == config
    lines = logged(workdir)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    terms = {"rpn_objectness", "rpn_box", "classification", "box", "occlusion", "amodal_mask", "inmodal_mask"}
    for line in lines:
        assert line.keys() == terms | {"step", "loss", "gradient_norm", "learning_rate"}
        assert line["loss"] == pytest.approx(sum(line[name] for name in terms), rel=1e-5)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.001, 0.001])
    assert sorted(path.name for path in (workdir / "checkpoints" / "last").iterdir()) == ["3", "5"]
    assert any((workdir / "tensorboard").iterdir())
    loaded, variables, step = load_checkpoint(workdir)
    assert (loaded, step) == (config, 5)
    assert_bit_equal(variables, state.variables)


def test_a_run_that_sigterm_broke_goes_on_bit_for_bit(config, unbroken, tmp_path, capsys):
    """Through real records and real checkpoints: parameters, momentum, data, sampling and what is logged."""
    broken = train(config, tmp_path, batches=Interrupted(config, after=3))
    reached = int(broken.step)
    assert 0 < reached < 5
    assert f"stopped by a signal at step {reached}" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    resumed = train(config, tmp_path)
    assert f"going on from step {reached}" in capsys.readouterr().err
    workdir, expected = unbroken
    assert_bit_equal(resumed, expected)
    assert logged(tmp_path) == logged(workdir)


def test_a_finished_run_has_nothing_to_do(config, unbroken, capsys):
    workdir, state = unbroken
    assert_bit_equal(train(config, workdir), state)
    assert "has all its 5 steps already" in capsys.readouterr().err


def test_a_run_keeps_its_configuration(config, unbroken):
    workdir, _ = unbroken
    with pytest.raises(ConfigError, match="train.learning_rate was 0.01 and is now 0.02"):
        train(with_train(config, learning_rate=0.02), workdir)
    with pytest.raises(ConfigError, match=r"model.class_names is car, but the dataset at .* has cyclist, pedestrian"):
        train(dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=("car",))), workdir)
    with pytest.raises(ConfigError, match="train.steps was 5 and is now 6"):
        train(with_train(config, steps=6, schedule="cosine"), workdir)


def poisoned(good):
    """Batches of which all after the first `good` have an instance of an unknown class, whose loss is NaN."""
    for index in itertools.count():
        batch = jax.tree.map(np.array, micro_batch(DEVICES, seed=index))
        if index >= good:
            batch.truth.labels[3, 0] = 1000
        yield batch


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(
        TrainingError, match=r"step 5: .*classification is nan.* the last good checkpoint in .* is of step 3"
    ):
        train(with_train(CONFIG, steps=9), tmp_path, batches=poisoned(good=4))
    _, variables, step = load_checkpoint(tmp_path)
    assert step == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
    assert all(math.isfinite(value) for line in logged(tmp_path) for value in line.values())
    assert [line["step"] for line in logged(tmp_path)] == [1, 2, 3, 4]


def test_batches_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="train.batch_size is 6, which 8 devices or processes cannot share evenly"):
        train(with_train(CONFIG, batch_size=6), tmp_path, batches=iter([]))
    with pytest.raises(DataError, match="the batches came to an end at step 0 of 5"):
        train(CONFIG, tmp_path, batches=iter([]))
    with pytest.raises(DataError, match="a batch of 4 images came where this process takes 8: 1 for each of 8 devices"):
        train(CONFIG, tmp_path, batches=iter([micro_batch(4)]))


def changed(config, section, **changes):
    part = dataclasses.replace(getattr(config.model, section), **changes)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **{section: part}))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network without a run, of other classes: its directory, configuration and variables."""
    names = ("person", "car", "train", "dog")
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, class_names=names))
    variables = jax.device_get(initialise(build_detector(config), config, jax.random.key(7)))
    folder = tmp_path_factory.mktemp("weights") / "network"
    write_network(folder, config, variables)
    return folder, config, variables


def test_a_run_starts_from_other_weights_and_goes_on_from_its_own(weights, tmp_path, capsys):
    folder, weights_config, variables = weights
    own = initialise(build_detector(CONFIG), CONFIG, jax.random.key(CONFIG.train.seed))
    first, _ = transfer(variables, weights_config, own, CONFIG)
    batch = micro_batch(DEVICES)
    optimizer = make_optimizer(CONFIG.train)
    step = parallel_train_step(build_detector(CONFIG), optimizer, CONFIG)
    shaped = jax.tree.map(lambda leaf: leaf.reshape(DEVICES, 1, *leaf.shape[1:]), batch)
    expected, _ = step(create_state(first, optimizer), shaped, np.zeros(DEVICES, np.int32))

    state = train(with_train(CONFIG, steps=1), tmp_path, init=folder, batches=iter([batch]))
    assert_bit_equal(state, expected)
    said = capsys.readouterr().err
    assert f"init: started from {folder}" in said
    assert "init: taken: backbone, fpn, rpn_head, box_head, occlusion_head" in said
    assert "pedestrian from person, car, tram from train" in said
    report = json.loads((tmp_path / "init.json").read_text())
    assert report["checkpoint"] == str(folder)
    assert report["classes"] == {"pedestrian": "person", "car": "car", "tram": "train"}
    assert report["taken"]["backbone/conv1"] == "backbone/conv1"
    assert report["new"] == report["settings"] == {}

    state = train(with_train(CONFIG, steps=2), tmp_path, init=tmp_path / "gone", batches=iter([batch]))
    assert int(state.step) == 2
    assert "going on from step 1" in capsys.readouterr().err


def test_weights_that_cannot_be_started_from_leave_no_run(weights, tmp_path):
    folder, _, _ = weights
    workdir = tmp_path / "run"
    with pytest.raises(CheckpointError, match=f"{folder}: .* --model.backbone.width 8"):
        train(changed(CONFIG, "backbone", width=16), workdir, init=folder, batches=iter([]))
    with pytest.raises(CheckpointError, match="nothing/checkpoints/last: there is no checkpoint"):
        train(CONFIG, workdir, init=tmp_path / "nothing", batches=iter([]))
    assert not workdir.exists()


def test_what_weights_expect_is_taken_over_once(weights, tmp_path):
    _, config, variables = weights
    folder, run = tmp_path / "aligned", tmp_path / "run"
    write_network(folder, changed(config, "roi", aligned=True), variables)
    begun = config_to_start_from(folder, CONFIG, run)
    assert begun == changed(CONFIG, "roi", aligned=True)
    # Without a checkpoint of its own the run has not begun.
    write_config(run, CONFIG)
    assert config_to_start_from(folder, CONFIG, run) == begun
    shutil.rmtree(run)
    write_network(run, begun, variables)
    assert config_to_start_from(tmp_path / "gone", CONFIG, run) == begun


def start(workdir, config, *arguments, devices):
    """`scripts/train.py` with the fields of `config` as overrides."""
    overrides = [word for line in field_lines(config) for word in line.split(" ", 1) if not line.startswith("--name")]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "scripts/train.py", "asn_tiny", "--workdir", str(workdir), *arguments, *overrides]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


@pytest.mark.slow
@pytest.mark.skipif(
    "AMODAL_JAX_TEST_PROCESSES" not in os.environ,
    reason="two training processes were seen to wait for each other on an overloaded machine: set "
    "AMODAL_JAX_TEST_PROCESSES=1 to run this test",
)
def test_two_processes_train_as_one_and_stop_together(config, tmp_path):
    """SIGTERM reaches one of two processes; both stop at the same step, with the parameters that one process gets."""
    config = with_train(config, steps=1000, batch_size=2, checkpoint_every=1000)
    together = tmp_path / "together"
    coordinator = f"localhost:{free_port()}"
    processes = [
        start(together, config, "--coordinator", coordinator, "--processes", "2", "--process", str(index), devices=1)
        for index in range(2)
    ]
    log = together / "metrics.jsonl"
    deadline = time.monotonic() + 600
    while not (log.exists() and log.read_text()) and all(process.poll() is None for process in processes):
        assert time.monotonic() < deadline, "no step was taken in ten minutes"
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    _, variables, step = load_checkpoint(together)
    assert 0 < step < 1000
    assert f"stopped by a signal at step {step}" in errors[0]

    alone = tmp_path / "alone"
    process = start(alone, with_train(config, steps=step), devices=2)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    expected = load_checkpoint(alone)[1]
    for one, other in zip(jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert [line["step"] for line in logged(together)] == list(range(1, step + 1))
