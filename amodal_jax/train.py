"""Training: `train` from top to bottom, with the step that every device runs.

Shape shorthand: N local devices, b images a device.

Each device takes its share of the global batch's loss terms: sums over its images, divided by counts over all devices.
Shares and their gradients are added up, so that a step is the same but for rounding however the batch is spread. The
random key of an image is a function of the seed, the step and the image's place in the global batch, for the same
reason.
"""

import contextlib
import dataclasses
import json
import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from amodal_jax import losses
from amodal_jax.atomic_file import write_atomically
from amodal_jax.build import Variables, build_detector, initialise
from amodal_jax.canvas import check_input_canvas
from amodal_jax.checkpoint import (
    Checkpoint,
    CheckpointWriter,
    best_evaluation,
    checkpoint_config,
    evaluation_folder,
    last_config,
    load_variables,
    restore_last,
    write_config,
)
from amodal_jax.config import Config, read_config
from amodal_jax.errors import CheckpointError, ConfigError, DataError, TrainingError
from amodal_jax.evaluate import EvaluationStopped, check_dataset, evaluate_detector, read_fitting_truth
from amodal_jax.metric_writer import MetricWriter, logged_figures
from amodal_jax.models.detector import Detector
from amodal_jax.optimizer import learning_rate_schedule, make_optimizer
from amodal_jax.processes import on_first_process
from amodal_jax.progress import ProgressLine
from amodal_jax.run_lock import run_lock
from amodal_jax.structures import Batch
from amodal_jax.transfer import adopt_settings, check_backbone, transfer

Metrics = dict[str, Array]

# What may change between two starts of one run, as no step's result depends on it. `train.steps` is added to these with
# the schedule "step", where it only says when to end.
FREE_FIELDS = (
    "name",
    "data.directory",
    "data.test_split",
    "train.log_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.evaluate_every",
    "evaluation",
)
_PREFETCHED_BATCHES = 2


@struct.dataclass
class TrainState:
    """Everything that a step changes, whole on each device."""

    step: Any  # int32 [], steps done; under lowering what describes it
    params: Any
    frozen: Any  # the collection "frozen" of the variables; empty with GroupNorm
    optimizer_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """As `Detector.apply` takes them."""
        return {"params": self.params} | ({"frozen": self.frozen} if self.frozen else {})


def train(
    config: Config,
    workdir: Path,
    *,
    init: str | Path | None = None,
    batches: Iterator[Batch] | None = None,
) -> TrainState:
    """Trains a network, or goes on with the run that is in `workdir`.

    The run directory gets `config.json`, `metrics.jsonl`, TensorBoard events in `tensorboard`, the figures of the
    latest evaluation in `evaluation`, `checkpoints` (see `amodal_jax.checkpoint`) and, with `init`, `init.json`, which
    says what became of every layer. SIGTERM and SIGINT save a checkpoint and return early. A run that goes on takes the
    steps that it would have taken without the stop, on CPUs to the last bit, on GPUs but for rounding: their atomic
    additions come in any order. With several processes, each of them calls this, and only the first one writes. An
    evaluation that was due when a run ended is made when it goes on.

    Args:
      config: the experiment. Empty class names are filled in with the dataset's.
      workdir: the run directory.
      init: another run's directory, or one of its checkpoints, whose weights this run starts from as
        `amodal_jax.transfer.transfer` has it. A run that has a checkpoint of its own goes on from that. `config` should
        come from `config_to_start_from`; what it has otherwise than the weights expect is said.
      batches: this process's part of each global batch, instead of the dataset at `config.data.directory`. If it has
        `get_state()` and `set_state(state)` as `input_pipeline.TrainingBatches` has, its position is saved and
        restored; otherwise a run goes on with wherever it stands.

    Returns:
      The state after the last step that was taken.

    Raises:
      ConfigError: a batch size that the devices cannot share evenly, other classes than the dataset's, a field that
        differs from that of the run in `workdir`, another process that trains there, a `config.json` there that is no
        run's, or frozen parts of the network in a start from scratch.
      DataError: a dataset, record or batch that cannot be used.
      CheckpointError: see `restore_last`, `CheckpointWriter.save`, `load_variables` and `check_backbone`.
      TrainingError: a loss or gradient that is not finite. The last checkpoint is from before it.
    """
    # ----- What is to be trained, and on what
    config = _with_absolute_directory(config)
    if batches is None:
        # TensorFlow is imported only where a dataset is read: training on other batches does without it.
        from amodal_jax.input_pipeline import dataset_categories, training_batches

        config = _with_class_names(config, tuple(dataset_categories(config).values()))
        batches = training_batches(
            config,
            batch_size=_share(config.train.batch_size, jax.process_count()),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
    images_a_device = _share(config.train.batch_size, jax.device_count())
    if config.train.evaluate_every:
        check_dataset(config)
    workdir = Path(workdir).expanduser().absolute()
    trained = last_config(workdir)
    if trained is None:
        _check_beginning(config, init)
    _check_same_run(config, trained, workdir)

    with contextlib.ExitStack() as stack:
        stack.enter_context(run_lock(workdir))
        truth = None
        if config.train.evaluate_every:
            truth = on_first_process(lambda: read_fitting_truth(config))  # once for all evaluations

        # ----- The network and its state: from this run's last checkpoint, from another one's, or from scratch
        detector = build_detector(config)
        optimizer = make_optimizer(config.train, frozen_stages=config.model.backbone.frozen_stages)
        state, position, unlogged = _first_state(config, workdir, init, detector, optimizer)
        if position is not None and hasattr(batches, "set_state"):
            batches.set_state(position)
        step = int(state.step)
        on_every_device = NamedSharding(_local_mesh(), PartitionSpec())
        state = jax.device_put(state, on_every_device)
        parallel_step = parallel_train_step(detector, optimizer, config)

        first_process = jax.process_index() == 0
        if first_process:
            print(
                f"devices: {jax.device_count()} ({jax.local_device_count()} of this process), "
                f"processes: {jax.process_count()}, images a device: {images_a_device}",
                file=sys.stderr,
            )
            if step >= config.train.steps:
                print(f"the run in {workdir} has all its {config.train.steps} steps already", file=sys.stderr)
        running: deque[tuple[int, Metrics]] = deque()  # steps that were started, whose figures are still to be read
        stopping = False
        saved = step or None

        # ----- What the run writes
        if first_process:
            write_config(workdir, config)
        best_score = _score_to_beat(config, workdir)
        last, best = (
            stack.enter_context(contextlib.closing(CheckpointWriter(workdir, kind, config)))
            for kind in ("last", "best")
        )
        log = stack.enter_context(contextlib.closing(_Log(config, workdir, step, unlogged))) if first_process else None
        stop_request = stack.enter_context(_StopRequest())

        def read_figures(newest: int) -> None:
            """Reads the figures of all started steps but the newest ones, which keep the devices busy meanwhile."""
            nonlocal stopping
            while len(running) > newest:
                done, metrics = running.popleft()
                figures = {name: float(metrics[name]) for name in ("loss", *metrics)}
                stopping |= figures.pop("stop_requests") > 0
                _check_finite(done, figures, workdir, saved)
                if log:
                    log.add(done, figures)

        def checkpoint() -> Checkpoint:
            return Checkpoint(
                step, state.variables, state.optimizer_state, position, unlogged=log.unlogged if log else None
            )

        def evaluate() -> None:
            """Evaluates the state, which is saved as the best one if it is; on a stop request it stays due."""
            nonlocal stopping, best_score
            try:
                figures = evaluate_detector(
                    detector,
                    state.variables,
                    config,
                    evaluation_folder(workdir, "last"),
                    truth=truth,
                    checkpoint={"directory": str(workdir), "kind": "last", "step": step},
                    stop_requested=stop_request.requested,
                )
            except EvaluationStopped:
                stopping = True
                return
            if log:
                log.evaluated(step, figures)
            if _score(figures) > best_score:
                best_score = _score(figures)
                best.save(dataclasses.replace(checkpoint(), metrics=figures))

        if step and _evaluation_is_due(config, step) and not _was_evaluated(workdir, step, best_score):
            evaluate()

        # ----- The steps
        for batch, position_after in _on_devices(batches, config):
            if step >= config.train.steps or stopping:
                break
            state, metrics = parallel_step(state, batch, stop_request.flags())
            step += 1
            position = position_after
            running.append((step, metrics))
            evaluation_due = _evaluation_is_due(config, step)
            save_due = evaluation_due or step == config.train.steps or step % config.train.checkpoint_every == 0
            read_figures(newest=0 if save_due else 1)
            if stopping:
                read_figures(newest=0)
            if not save_due and not stopping:
                continue
            if log:
                log.pause()
            last.save(checkpoint())
            saved = step
            if evaluation_due and not stopping:
                evaluate()
        else:
            if step < config.train.steps:
                raise DataError(f"the batches came to an end at step {step} of {config.train.steps}")

    if first_process and stopping and (step < config.train.steps or _evaluation_is_due(config, step)):
        print(f"stopped by a signal at step {step}; the same command goes on from there", file=sys.stderr)
    return state


def config_to_start_from(init: str | Path, config: Config, workdir: Path) -> Config:
    """`config` with what the weights of `init` expect of the network (see `amodal_jax.transfer.adopt_settings`).

    Where the run in `workdir` has a checkpoint, that is what it took over when it began, whether or not those weights
    are still there.

    Raises:
      CheckpointError: there is no good checkpoint at `init`, or none of those in `workdir` is.
    """
    begun = last_config(Path(workdir).expanduser())
    return adopt_settings(config, begun or checkpoint_config(init))


def train_step(
    state: TrainState,
    batch: Batch,
    stop_request: Int[Array, ""],
    *,
    detector: Detector,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    seed: int,
) -> tuple[TrainState, Metrics]:
    """One step on one device of the axis "batch".

    Args:
      state: the same on each device.
      batch: the device's b images.
      stop_request: 1 where this process was asked to end, else 0.
      detector: the network.
      optimizer: of its parameters.
      schedule: the learning rate, for the figures.
      seed: of the sampling of anchors and regions.

    Returns:
      The next state and the figures of the step, the same on each device: `loss` and its terms over the global batch,
      `gradient_norm`, `learning_rate`, and `stop_requests`, the sum over the devices.
    """
    images = batch.images.shape[0]
    step_key = jax.random.fold_in(jax.random.key(seed), state.step)
    places = jax.lax.axis_index("batch") * images + jnp.arange(images)
    keys = jax.vmap(lambda place: jax.random.fold_in(step_key, place))(places)

    def loss_share(params):
        variables = dataclasses.replace(state, params=params).variables
        terms: Any = detector.apply(variables, batch, keys, method="losses")
        shares = {name: losses.mean(term, "batch") for name, term in terms.items()}
        return sum(shares.values()), shares

    gradients, shares = jax.grad(loss_share, has_aux=True)(state.params)
    gradients, terms, stop_requests = jax.lax.psum((gradients, shares, stop_request), "batch")
    updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
    metrics = {
        "loss": sum(terms.values()),
        **terms,
        "gradient_norm": optax.global_norm(gradients),
        "learning_rate": jnp.asarray(schedule(state.step)),
        "stop_requests": stop_requests,
    }
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        optimizer_state=optimizer_state,
    )
    return state, metrics


def parallel_train_step(
    detector: Detector,
    optimizer: optax.GradientTransformation,
    config: Config,
    *,
    devices: list[jax.Device] | None = None,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]:
    """`train_step` on all devices of all processes, or on those given.

    The state has no device axis and is used up; batch and stop requests have this process's N devices in front:
    images [N, b, H, W, 3] and so on.
    """

    def step(state, batch, stop_request):
        return train_step(
            state,
            batch,
            stop_request,
            detector=detector,
            optimizer=optimizer,
            schedule=learning_rate_schedule(config.train),
            seed=config.train.seed,
        )

    return jax.pmap(
        step, axis_name="batch", in_axes=(None, 0, 0), out_axes=(None, None), donate_argnums=0, devices=devices
    )


def create_state(variables: Variables, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        frozen=variables.get("frozen", {}),
        optimizer_state=optimizer.init(variables["params"]),
    )


def _first_state(
    config: Config,
    workdir: Path,
    init: str | Path | None,
    detector: Detector,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Any] | None, dict[str, float] | None]:
    """The state to start from, and what belongs to it: the position of the data, and the figures not logged yet."""

    def from_scratch() -> Variables:
        return initialise(detector, config, jax.random.key(config.train.seed))

    shapes = jax.eval_shape(lambda: create_state(from_scratch(), optimizer))
    checkpoint = restore_last(workdir, shapes.variables, shapes.optimizer_state)
    if checkpoint is None:
        variables = from_scratch()
        if init is not None:
            variables = _started_from(init, variables, config, workdir)
        return create_state(variables, optimizer), None, None
    if jax.process_index() == 0:
        print(f"going on from step {checkpoint.step} of {workdir}", file=sys.stderr)
    state = TrainState(
        step=jnp.int32(checkpoint.step),
        params=checkpoint.variables["params"],
        frozen=checkpoint.variables.get("frozen", {}),
        optimizer_state=checkpoint.optimizer_state,
    )
    return state, checkpoint.position, checkpoint.unlogged


def _started_from(init: str | Path, variables: Variables, config: Config, workdir: Path) -> Variables:
    """The first variables with the weights of another run; says what became of them, also in `init.json`."""
    weights_config, weights = load_variables(init)
    variables, report = transfer(weights, weights_config, variables, config)
    if jax.process_index() == 0:
        for line in [f"started from {init}", *report.lines()]:
            print(f"init: {line}", file=sys.stderr)
        content = {"checkpoint": str(init), **dataclasses.asdict(report)}
        write_atomically(workdir / "init.json", json.dumps(content, indent=2) + "\n")
    return variables


def _with_absolute_directory(config: Config) -> Config:
    """`config` with a dataset that is found from any folder, as it goes into checkpoints."""
    directory = str(Path(config.data.directory).expanduser().absolute())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, directory=directory))


def _with_class_names(config: Config, found: tuple[str, ...]) -> Config:
    """`config` with the dataset's class names, which must be its own if it has any."""
    names = config.model.class_names
    if names and names != found:
        raise ConfigError(
            f"model.class_names is {', '.join(names)}, but the dataset at {config.data.directory} has "
            f"{', '.join(found)}; leave it empty (--model.class-names=) to take the dataset's"
        )
    return dataclasses.replace(config, model=dataclasses.replace(config.model, class_names=found))


def _share(batch_size: int, parts: int) -> int:
    """The images of each of so many equal parts of a global batch."""
    if batch_size % parts:
        raise ConfigError(
            f"train.batch_size is {batch_size}, which {parts} devices or processes cannot share evenly; "
            f"choose a multiple of {parts}"
        )
    return batch_size // parts


def _check_beginning(config: Config, init: str | Path | None) -> None:
    """Refuses what cannot be begun with, before anything is written."""
    if init is None:
        _check_scratch(config)
        return
    weights_config = checkpoint_config(init)
    try:
        check_backbone(weights_config, config)
    except CheckpointError as error:
        raise CheckpointError(f"{init}: {error}") from error


def _check_scratch(config: Config) -> None:
    """Refuses to draw at random what then stays as it is drawn."""
    backbone = config.model.backbone
    needed = {
        "--model.backbone.norm group_norm": backbone.norm == "frozen_batch_norm",
        "--model.backbone.frozen-stages 0": backbone.frozen_stages > 0,
    }
    missing = [field for field, is_missing in needed.items() if is_missing]
    if missing:
        raise ConfigError(
            f"parts of the backbone are frozen, which is for trained weights: begin with some (--init CHECKPOINT), or "
            f"from scratch with {' '.join(missing)}"
        )


def _check_same_run(config: Config, before: Config | None, workdir: Path) -> None:
    """Refuses to go on with a run under a configuration that would have given other steps."""
    if before is None:
        # Nothing to go on from, and any configuration may begin. But what is no run's file must not be replaced by one.
        read_config(workdir)
        return
    free = FREE_FIELDS + (("train.steps",) if config.train.schedule == "step" else ())
    was, now = _flat(dataclasses.asdict(before)), _flat(dataclasses.asdict(config))
    changed = [
        f"{name} was {was[name]} and is now {now[name]}"
        for name in now
        if was[name] != now[name] and not any(name == field or name.startswith(f"{field}.") for field in free)
    ]
    if changed:
        raise ConfigError(
            f"{workdir} holds a run of another configuration: {'; '.join(changed)}. "
            "Choose another --workdir, or the run's own configuration to go on with it"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _local_mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), "batch")


def _on_devices(batches: Iterator[Batch], config: Config) -> Iterator[tuple[Batch, dict[str, Any] | None]]:
    """Batches with a device axis, on their way to the devices ahead of time, each with the data's position after it."""
    devices = jax.local_device_count()
    images = config.train.batch_size // jax.device_count()
    sharding = NamedSharding(_local_mesh(), PartitionSpec("batch"))
    queue: deque[tuple[Batch, dict[str, Any] | None]] = deque()
    for batch in batches:
        if len(batch.images) != devices * images:
            raise DataError(
                f"a batch of {len(batch.images)} images came where this process takes {devices * images}: "
                f"{images} for each of {devices} devices"
            )
        image_ids, sizes = np.asarray(batch.image_ids).tolist(), map(tuple, np.asarray(batch.sizes).tolist())
        check_input_canvas(zip(image_ids, sizes, strict=True), config.model.input)
        shaped = jax.tree.map(lambda array: array.reshape(devices, images, *array.shape[1:]), batch)
        position = batches.get_state() if hasattr(batches, "get_state") else None
        queue.append((jax.device_put(shaped, sharding), position))
        if len(queue) >= _PREFETCHED_BATCHES:
            yield queue.popleft()
    yield from queue


def _check_finite(step: int, figures: dict[str, float], workdir: Path, saved: int | None) -> None:
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        terms = [name for name in wrong if name != "loss"] or wrong
        good = f"the last good checkpoint in {workdir} is of step {saved}" if saved else "no checkpoint was saved yet"
        raise TrainingError(
            f"step {step}: {', '.join(f'{name} is {figures[name]}' for name in terms)}; {good}. "
            "Lower train.learning_rate, lengthen train.warmup_steps or set train.gradient_clip"
        )


def _score(metrics: dict[str, float] | None) -> float:
    """What makes an evaluation the best one: amodal AP; where there is no such branch, inmodal or box AP."""
    for name in ("amodal/AP", "inmodal/AP", "det/AP"):
        if metrics and name in metrics:
            return metrics[name]
    return -math.inf


def _score_to_beat(config: Config, workdir: Path) -> float:
    """That of the run's best checkpoint, if it was evaluated as `config` says."""
    best = best_evaluation(workdir)
    if best is None:
        return -math.inf
    before, metrics = best
    was, now = ((one.data.test_split, dataclasses.replace(one.evaluation, batch_size=1)) for one in (before, config))
    if was == now:
        return _score(metrics)
    if jax.process_index() == 0:
        print(
            f"the best checkpoint of {workdir} was evaluated with other settings; the next one takes its place",
            file=sys.stderr,
        )
    return -math.inf


def _evaluation_is_due(config: Config, step: int) -> bool:
    every = config.train.evaluate_every
    return every > 0 and (step == config.train.steps or step % every == 0)


def _was_evaluated(workdir: Path, step: int, best_score: float) -> bool:
    """Whether the evaluation of a step was logged, and saved if it was the best one; the first process decides."""
    score = _score(logged_figures(workdir, step))
    return bool(multihost_utils.broadcast_one_to_all(np.int32(-math.inf < score <= best_score)))


class _StopRequest:
    """Remembers SIGTERM and SIGINT while it is entered; a second one acts as it always does."""

    def __init__(self):
        self._requested = False
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> "_StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._usual[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self._requested = True
        self.__exit__()

    def requested(self) -> bool:
        """Whether this process was asked to end."""
        return self._requested

    def flags(self) -> np.ndarray:
        """For each local device 1 if this process was asked to end; summed in the step, for all to learn it at once."""
        return np.full(jax.local_device_count(), int(self._requested), np.int32)


class _Log:
    """The figures of the steps, averaged over `train.log_every` of them, and the progress line."""

    def __init__(self, config: Config, workdir: Path, step: int, unlogged: dict[str, float] | None):
        self._every = config.train.log_every
        self._batch_size = config.train.batch_size
        self._writer = MetricWriter(workdir, step)
        self._progress = ProgressLine(config.train.steps, config.train.batch_size)
        self.unlogged = dict(unlogged or {})  # sums over the steps since the last line, and the number of these `steps`
        self._timed_steps = 0
        self._seconds = 0.0
        self._last_time: float | None = None  # None: the next step's time says nothing, as of one that is compiled

    def add(self, step: int, figures: dict[str, float]) -> None:
        now = time.monotonic()
        if self._last_time is not None:
            self._timed_steps += 1
            self._seconds += now - self._last_time
        self._last_time = now
        for name, value in ({"steps": 1.0} | figures).items():
            self.unlogged[name] = self.unlogged.get(name, 0) + value
        if step % self._every:
            return
        steps = self.unlogged["steps"]
        means = {name: self.unlogged[name] / steps for name in figures}
        rate = self._timed_steps * self._batch_size / self._seconds if self._timed_steps else None
        self._writer.write(step, means | ({"images_per_second": rate} if rate else {}))
        terms = {name: value for name, value in means.items() if name not in ("gradient_norm", "learning_rate")}
        self._progress.update(step, terms, rate)
        self.unlogged, self._timed_steps, self._seconds = {}, 0, 0.0

    def pause(self) -> None:
        """What comes now, until the next step, is no step's time."""
        self._last_time = None
        self._progress.close()

    def evaluated(self, step: int, figures: dict[str, float]) -> None:
        self._writer.write(step, figures)

    def close(self) -> None:
        self._progress.close()
        self._writer.close()
