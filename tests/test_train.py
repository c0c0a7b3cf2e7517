import contextlib
import dataclasses
import itertools
import json
import math
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn

from amodal_jax.config import BackboneConfig, HeadConfig, MLCConfig, OcclusionConfig
from amodal_jax.config_json import field_lines, override
from amodal_jax.errors import CheckpointError, ConfigError, DataError, TrainingError
from amodal_jax.evaluate import evaluate_network
from amodal_jax.network import build_network, initialise
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_reader import best_evaluation, load_checkpoint
from amodal_jax.runs.checkpoint_writer import CheckpointWriter, write_network
from amodal_jax.runs.directory import read_config, write_config
from amodal_jax.runs.lock import run_lock
from amodal_jax.train import train
from amodal_jax.training.optimizer import make_optimizer
from amodal_jax.training.start import config_to_start_from
from amodal_jax.training.state import create_state
from amodal_jax.training.step import parallel_train_step
from amodal_jax.weights.transfer import transfer
from configs import load_config
from tests.helpers.micro import micro_batch, micro_config

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
        from amodal_jax.input_pipeline.batches import training_batches

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


def evaluations(workdir):
    return {line["step"]: line for line in logged(workdir) if "det/AP" in line}


@pytest.fixture(scope="module")
def config(tiny_dataset):
    """Evaluates after the steps 2, 4 and 5; logs after 2 and 4."""
    return with_data(with_train(CONFIG, log_every=2, evaluate_every=2), directory=str(tiny_dataset))


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory, tiny_dataset):
    """A run of five steps, started in the folder of its dataset: its directory and last state."""
    workdir = tmp_path_factory.mktemp("unbroken")
    with contextlib.chdir(tiny_dataset.parent):
        return workdir, train(with_data(config, directory=tiny_dataset.name), workdir)


@pytest.fixture
def finished(unbroken, tmp_path):
    """A copy of the unbroken run, and its last state."""
    workdir, state = unbroken
    return Path(shutil.copytree(workdir, tmp_path / "finished")), state


def forget_evaluation(workdir, step):
    """As if the run had been killed during it."""
    log = workdir / "metrics.jsonl"
    lines = log.read_text().splitlines()
    kept = [line for line in lines if "det/AP" not in line or json.loads(line)["step"] != step]
    assert len(kept) == len(lines) - 1
    log.write_text("".join(line + "\n" for line in kept))


def one_step(devices):
    detector = build_network(CONFIG)
    optimizer = make_optimizer(CONFIG.train)
    state = create_state(initialise(detector, CONFIG, jax.random.key(0)), optimizer)
    count = len(devices)
    batch = jax.tree.map(lambda leaf: leaf.reshape(count, DEVICES // count, *leaf.shape[1:]), micro_batch(DEVICES))
    step = parallel_train_step(detector, optimizer, CONFIG, devices=devices)
    return step(state, batch, np.zeros(count, np.int32))


def test_eight_devices_take_the_step_of_one(monkeypatch):
    """On the same global batch, whose images differ in their number of instances, and so devices in their counts.

    With a smooth function in place of ReLU: of a value so near 0 that rounding decides its sign, one side would have
    the gradient and the other none, which makes a thousandth of a whole layer's where few regions have a mask.
    """
    monkeypatch.setattr(nn, "relu", nn.softplus)
    state, metrics = one_step(jax.devices()[:DEVICES])
    replicas = [[shard.data for shard in leaf.addressable_shards] for leaf in jax.tree.leaves((state, metrics))]
    assert all(len(copies) == DEVICES for copies in replicas)
    for first, *others in replicas:
        for other in others:
            np.testing.assert_array_equal(first, other, strict=True)

    alone, alone_metrics = one_step(jax.devices()[:1])
    assert metrics.keys() == alone_metrics.keys()
    for name in metrics:
        assert float(metrics[name]) == pytest.approx(float(alone_metrics[name]), rel=1e-5), name
    gradients, expected = (jax.tree_util.tree_leaves_with_path(one.optimizer_state[1].trace) for one in (state, alone))
    assert sum(float(np.abs(leaf).max()) > 0 for _, leaf in gradients) > 100
    worst = []
    for (path, leaf), (_, other) in zip(gradients, expected, strict=True):
        # Float32 rounds sums in an order that depends on the batch's shape; a mean of the devices' means in place of
        # the global one would be off by tens of per cent.
        difference = np.linalg.norm(np.asarray(leaf) - np.asarray(other)) / (np.linalg.norm(other) + 1e-7)
        worst.append((float(difference), jax.tree_util.keystr(path)))
    assert max(worst)[0] < 1e-4, sorted(worst)[-5:]
    assert np.median([difference for difference, _ in worst]) < 1e-5, sorted(worst)[-5:]


def test_a_run_writes_what_it_is_to_leave(config, unbroken):
    workdir, state = unbroken
    assert int(state.step) == 5
    assert read_config(workdir) == config
    assert [line["step"] for line in logged(workdir)] == [2, 2, 4, 4, 5]
    lines = [line for line in logged(workdir) if "loss" in line]
    terms = {"rpn_objectness", "rpn_box", "classification", "box", "occlusion", "amodal_mask", "inmodal_mask"}
    for line in lines:
        assert line.keys() == terms | {"step", "loss", "gradient_norm", "learning_rate"}
        assert line["loss"] == pytest.approx(sum(line[name] for name in terms), rel=1e-5)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.01 / 2, 0.011 / 2])
    assert sorted(path.name for path in (workdir / "checkpoints" / "last").iterdir()) == ["4", "5"]
    assert any((workdir / "tensorboard").iterdir())
    loaded, variables, step = load_checkpoint(workdir)
    assert (loaded, step) == (config, 5)
    assert_bit_equal(variables, state.variables)


def test_a_run_is_evaluated_when_that_is_due(config, unbroken):
    workdir, _ = unbroken
    found = evaluations(workdir)
    assert list(found) == [2, 4, 5]
    for step, line in found.items():
        assert line["images"] == 5, step
    best = max(found, key=lambda step: found[step]["amodal/AP"])  # the first of equal ones
    assert load_checkpoint(workdir, kind="best")[2] == best
    assert best_evaluation(workdir) == (config, {name: value for name, value in found[best].items() if name != "step"})
    metrics = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert metrics["checkpoint"] == {"directory": str(workdir), "kind": "last", "step": 5}
    assert metrics.items() >= {name: value for name, value in found[5].items() if name != "step"}.items()


def test_a_run_that_sigterm_broke_goes_on_bit_for_bit(config, unbroken, tmp_path, capsys):
    """Through real records and real checkpoints: parameters, momentum, data, sampling and what is logged.

    First it is broken where an evaluation is due, then between two lines of the log.
    """
    for after, reached in ((3, 2), (4, 3)):
        broken = train(config, tmp_path, batches=Interrupted(config, after=after))
        assert int(broken.step) == reached
        assert f"stopped by a signal at step {reached}" in capsys.readouterr().err
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert list(evaluations(tmp_path)) == ([] if reached == 2 else [2])
    resumed = train(config, tmp_path)
    assert "going on from step 3" in capsys.readouterr().err
    workdir, expected = unbroken
    assert_bit_equal(resumed, expected)
    assert logged(tmp_path) == logged(workdir)
    assert best_evaluation(tmp_path) == best_evaluation(workdir)


def test_a_finished_run_has_nothing_to_do(config, unbroken, capsys):
    workdir, state = unbroken
    before = logged(workdir)
    assert_bit_equal(train(config, workdir), state)
    error = capsys.readouterr().err
    assert "has all its 5 steps already" in error
    assert "devices: 8 (8 of this process), processes: 1, images a device: 1" in error
    assert logged(workdir) == before


def test_an_evaluation_that_the_end_of_a_run_prevented_is_made_up_for(config, finished, monkeypatch, capsys):
    workdir, state = finished
    before = logged(workdir)
    forget_evaluation(workdir, step=5)
    shutil.rmtree(workdir / "checkpoints" / "best")

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate_network(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("amodal_jax.training.evaluations.evaluate_network", interrupted)
        train(config, workdir)
    assert "stopped by a signal at step 5; the same command goes on from there" in capsys.readouterr().err
    assert list(evaluations(workdir)) == [2, 4]
    assert best_evaluation(workdir) is None

    assert_bit_equal(train(config, workdir), state)
    assert logged(workdir) == before
    assert load_checkpoint(workdir, kind="best")[2] == 5


@pytest.mark.parametrize(("score", "best"), [(0.5, 4), (-0.5, 5)])
def test_the_best_checkpoint_gives_way_to_a_better_one_only(config, finished, score, best):
    """The last evaluation of so short a training finds nothing: its AP is 0."""
    workdir, state = finished
    forget_evaluation(workdir, step=5)
    shutil.rmtree(workdir / "checkpoints" / "best")
    with contextlib.closing(CheckpointWriter(workdir, "best", config)) as writer:
        writer.save(Checkpoint(4, state.variables, state.optimizer_state, None, metrics={"amodal/AP": score}))
    train(config, workdir)
    assert evaluations(workdir)[5]["amodal/AP"] == 0
    assert [path.name for path in (workdir / "checkpoints" / "best").iterdir()] == [str(best)]


def test_the_best_of_other_settings_is_no_measure(config, finished, capsys):
    workdir, _ = finished
    other = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, mask_threshold=0.4))
    train(dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, batch_size=8)), workdir)
    assert "with other settings" not in capsys.readouterr().err
    train(other, workdir)
    assert "was evaluated with other settings; the next one takes its place" in capsys.readouterr().err
    assert load_checkpoint(workdir, kind="best")[2] == 5
    assert best_evaluation(workdir)[0].evaluation == other.evaluation


def test_a_run_directory_has_one_training_at_a_time(config, finished):
    workdir, state = finished
    with (
        run_lock(workdir),
        pytest.raises(ConfigError, match=f"process {os.getpid()} on {platform.node()} is training there; stop it"),
    ):
        train(config, workdir)
    assert_bit_equal(train(config, workdir), state)


def test_a_run_keeps_its_configuration(config, unbroken):
    workdir, _ = unbroken
    with pytest.raises(ConfigError, match="train.learning_rate was 0.01 and is now 0.02"):
        train(with_train(config, learning_rate=0.02), workdir)
    with pytest.raises(ConfigError, match=r"model.class_names is car, but the dataset at .* has cyclist, pedestrian"):
        train(dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=("car",))), workdir)
    with pytest.raises(ConfigError, match="train.steps was 5 and is now 6"):
        train(with_train(config, steps=6, schedule="cosine"), workdir)


def test_a_run_whose_config_json_is_gone_keeps_that_of_its_checkpoint(config, finished):
    workdir, _ = finished
    (workdir / "config.json").unlink()
    with pytest.raises(ConfigError, match="train.learning_rate was 0.01 and is now 0.02"):
        train(with_train(config, learning_rate=0.02), workdir)


@pytest.mark.parametrize(
    ("norm", "stages", "missing"),
    [
        ("frozen_batch_norm", 2, "--model.backbone.norm group_norm --model.backbone.frozen-stages 0"),
        ("frozen_batch_norm", 0, "--model.backbone.norm group_norm"),
        ("group_norm", 1, "--model.backbone.frozen-stages 0"),
    ],
)
def test_random_weights_are_not_frozen(tmp_path, norm, stages, missing):
    backbone = BackboneConfig(depth=18, width=8, norm=norm, frozen_stages=stages)
    frozen = with_train(micro_config(backbone=backbone), batch_size=DEVICES, evaluate_every=0)
    with pytest.raises(ConfigError, match=f"--init CHECKPOINT.*, or from scratch with {missing}$"):
        train(frozen, tmp_path, batches=iter([]))
    assert not any(tmp_path.iterdir())
    # What is named is enough: the end of the batches is what stops it now.
    with pytest.raises(DataError, match="the batches came to an end"):
        train(override(frozen, shlex.split(missing)), tmp_path, batches=iter([]))


def test_the_readmes_commands_train():
    text = (ROOT / "README.md").read_text().replace("\\\n", "")
    commands = re.findall(r"python scripts/train\.py (\w+) --workdir \S+ (--model.*)", text)
    from_scratch = [(name, options) for name, options in commands if "--init" not in options]
    assert from_scratch
    for name, options in from_scratch:
        backbone = override(load_config(name), shlex.split(options)).model.backbone
        assert (backbone.norm, backbone.frozen_stages) == ("group_norm", 0)


def test_what_the_first_evaluation_will_lack_is_noticed_before_the_first_step(config, tmp_path):
    for changes in ({"test_split": "validation"}, {"directory": str(tmp_path / "nowhere")}):
        with pytest.raises(DataError, match="validation|nowhere"):
            train(with_data(config, **changes), tmp_path / "run", batches=iter([]))
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=("cat", "dog")))
    with pytest.raises(ConfigError, match=r"cat, dog, but the dataset at .* has cyclist"):
        train(other, tmp_path / "run", batches=iter([]))
    assert not (tmp_path / "run").exists()
    low = dataclasses.replace(config.model, input=dataclasses.replace(config.model.input, height=32))
    with pytest.raises(DataError, match=r"image 1\d\d of .* raise model.input.height to 64"):
        train(dataclasses.replace(config, model=low), tmp_path / "run", batches=iter([]))


def test_a_run_without_a_checkpoint_may_begin_with_another_configuration(config, tmp_path):
    """As when the first start has said what to change; but a file that is no run's is not replaced."""
    write_config(tmp_path, with_train(config, learning_rate=0.5))
    assert int(train(with_train(config, steps=1, evaluate_every=0), tmp_path).step) == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"theme": "dark"}')
    with pytest.raises(ConfigError, match=r"other/config\.json: unknown field theme"):
        train(config, tmp_path / "other")
    assert (tmp_path / "other" / "config.json").read_text() == '{"theme": "dark"}'


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
    upright = micro_batch(DEVICES).replace(sizes=np.array([[64, 96]] * 7 + [[64, 48]], np.int32))
    with pytest.raises(DataError, match="image 7 of 48 x 64 pixels becomes 64 x 85 .* raise model.input.height to 96"):
        train(CONFIG, tmp_path, batches=iter([upright]))


def with_model(config, section, **changes):
    part = dataclasses.replace(getattr(config.model, section), **changes)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **{section: part}))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network without a run, of other classes: its directory, configuration and variables."""
    names = ("person", "car", "train", "dog")
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, class_names=names))
    shapes = jax.eval_shape(lambda: initialise(build_network(config), config, jax.random.key(0)))
    rng = np.random.default_rng(7)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(np.float32), shapes)
    folder = tmp_path_factory.mktemp("weights") / "network"
    write_network(folder, config, variables)
    return folder, config, variables


def test_a_run_starts_from_other_weights_and_goes_on_from_its_own(weights, tmp_path, capsys):
    folder, weights_config, variables = weights
    own = initialise(build_network(CONFIG), CONFIG, jax.random.key(CONFIG.train.seed))
    first, _ = transfer(variables, weights_config, own, CONFIG)
    batch = micro_batch(DEVICES)
    optimizer = make_optimizer(CONFIG.train)
    step = parallel_train_step(build_network(CONFIG), optimizer, CONFIG)
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
        train(with_model(CONFIG, "backbone", width=16), workdir, init=folder, batches=iter([]))
    with pytest.raises(CheckpointError, match="nothing: there is no such folder"):
        train(CONFIG, workdir, init=tmp_path / "nothing", batches=iter([]))
    assert not workdir.exists()


def test_what_weights_expect_is_taken_over_once(weights, tmp_path):
    _, config, variables = weights
    folder, run = tmp_path / "aligned", tmp_path / "run"
    write_network(folder, with_model(config, "roi", aligned=True), variables)
    begun = config_to_start_from(folder, CONFIG, run)
    assert begun == with_model(CONFIG, "roi", aligned=True)
    # Without a checkpoint of its own the run has not begun.
    write_config(run, CONFIG)
    assert config_to_start_from(folder, CONFIG, run) == begun
    shutil.rmtree(run)
    write_network(run, begun, variables)
    assert config_to_start_from(tmp_path / "gone", CONFIG, run) == begun


@contextlib.contextmanager
def training(workdir, config, *arguments, devices, stderr):
    """A process of `scripts/train.py` with the fields of `config` as overrides; none is left behind."""
    overrides = [word for line in field_lines(config) for word in line.split(" ", 1) if not line.startswith("--name")]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "scripts/train.py", "asn_tiny", "--workdir", str(workdir), *arguments, *overrides]
    # A file takes all that is written to it, whoever waits for what; a pipe is full some time.
    with stderr.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_as_one_and_stop_together(config, tmp_path):
    """SIGTERM reaches one of two processes; both stop at the same step, with the parameters that one process gets."""
    deadline = time.monotonic() + 600

    def seconds_left():
        return max(deadline - time.monotonic(), 0)

    # A network with few parts, as three processes have to compile it.
    parts = micro_config(
        heads=HeadConfig(fc_channels=16, channels=8, inmodal_mask=False),
        occlusion=OcclusionConfig(enabled=False),
        mlc=MLCConfig(enabled=False),
    )
    config = with_train(
        dataclasses.replace(config, model=parts.model),
        steps=1000,
        batch_size=2,
        log_every=1,
        checkpoint_every=1000,
        evaluate_every=0,
    )
    together = tmp_path / "together"
    coordinator = ("--coordinator", f"localhost:{free_port()}", "--processes", "2", "--process")
    errors = [tmp_path / f"{name}.txt" for name in ("first", "second", "alone")]
    with (
        training(together, config, *coordinator, "0", devices=1, stderr=errors[0]) as first,
        training(together, config, *coordinator, "1", devices=1, stderr=errors[1]) as second,
    ):
        log = together / "metrics.jsonl"
        while not (log.exists() and log.read_text()) and first.poll() is None and second.poll() is None:
            assert seconds_left(), [path.read_text() for path in errors[:2]]
            time.sleep(0.1)
        second.send_signal(signal.SIGTERM)
        ended = [process.wait(timeout=seconds_left()) for process in (first, second)]
        assert ended == [0, 0], [path.read_text() for path in errors[:2]]
    _, variables, step = load_checkpoint(together)
    assert 0 < step < 1000
    assert f"stopped by a signal at step {step}" in errors[0].read_text()
    assert "devices: 2 (1 of this process), processes: 2, images a device: 1" in errors[0].read_text()
    assert [line["step"] for line in logged(together)] == list(range(1, step + 1))

    alone = tmp_path / "alone"
    with training(alone, with_train(config, steps=step), devices=2, stderr=errors[2]) as process:
        assert process.wait(timeout=seconds_left()) == 0, errors[2].read_text()
    expected = load_checkpoint(alone)[1]
    for one, other in zip(jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
