"""Training: `train` from top to bottom. Its parts are in `amodal_jax.training`, one in a file."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from amodal_jax.config import Config
from amodal_jax.errors import DataError
from amodal_jax.evaluation.truth import check_dataset, read_fitting_truth
from amodal_jax.network import build_network
from amodal_jax.parallel.devices import on_every_device
from amodal_jax.parallel.processes import on_first_process
from amodal_jax.runs.checkpoint import Checkpoint
from amodal_jax.runs.checkpoint_reader import last_config
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from amodal_jax.runs.directory import write_config
from amodal_jax.runs.lock import run_lock
from amodal_jax.structures import Batch
from amodal_jax.training.evaluations import Evaluations
from amodal_jax.training.feed import on_devices
from amodal_jax.training.log import Log, StartedSteps
from amodal_jax.training.multi_scale import StepOfDrawnSize
from amodal_jax.training.optimizer import make_optimizer
from amodal_jax.training.start import (
    check_beginning,
    check_same_run,
    share,
    with_absolute_directory,
    with_class_names,
)
from amodal_jax.training.state import TrainState, first_state
from amodal_jax.training.stop_request import StopRequest


def train(
    config: Config,
    workdir: Path,
    *,
    init: str | Path | None = None,
    batches: Iterator[Batch] | None = None,
) -> TrainState:
    """Trains a network, or goes on with the run that is in `workdir`.

    The run directory gets `config.json`, `metrics.jsonl`, TensorBoard events in `tensorboard`, the figures of the
    latest evaluation in `evaluation`, `checkpoints` (see `amodal_jax.runs.checkpoint`) and, with `init`, `init.json`,
    which says what became of every layer. SIGTERM and SIGINT save a checkpoint and return early. With several
    processes, each of them calls this, and only the first one writes. An evaluation that was due when a run ended is
    made when it goes on. A run that goes on takes the steps that it would have taken without the stop, on CPUs to the
    last bit, on GPUs but for rounding: their atomic additions come in any order.

    Args:
      config: the experiment. Empty class names are filled in with the dataset's.
      workdir: the run directory.
      init: another run's directory, or one of its checkpoints, whose weights this run starts from as
        `weights.transfer.transfer` has it. A run that has a checkpoint of its own goes on from that. `config` should
        come from `training.start.config_to_start_from`; what it has otherwise than the weights expect is said.
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
    config = with_absolute_directory(config)
    if batches is None:
        # TensorFlow is imported only where a dataset is read: training on other batches does without it.
        from amodal_jax.input_pipeline.batches import training_batches
        from amodal_jax.input_pipeline.records import dataset_categories

        config = with_class_names(config, tuple(dataset_categories(config).values()))
        batches = training_batches(
            config,
            batch_size=share(config.train.batch_size, jax.process_count()),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
    images_a_device = share(config.train.batch_size, jax.device_count())
    if config.train.evaluate_every:
        check_dataset(config)
    workdir = Path(workdir).expanduser().absolute()
    trained = last_config(workdir)
    if trained is None:
        check_beginning(config, init)
    check_same_run(config, trained, workdir)

    with contextlib.ExitStack() as stack:
        stack.enter_context(run_lock(workdir))
        truth = None
        if config.train.evaluate_every:
            truth = on_first_process(lambda: read_fitting_truth(config))  # once for all evaluations

        # ----- The network and its state: from this run's last checkpoint, from another one's, or from scratch
        network = build_network(config)
        optimizer = make_optimizer(config.train, frozen=network.frozen)
        state, position, unlogged = first_state(config, workdir, init, network, optimizer)
        if position is not None and hasattr(batches, "set_state"):
            batches.set_state(position)
        step = int(state.step)
        saved = step or None
        state = jax.device_put(state, on_every_device())

        # ----- What the run says and writes
        first_process = jax.process_index() == 0
        if first_process:
            _announce(config, workdir, step, images_a_device)
            write_config(workdir, config)
        log = stack.enter_context(contextlib.closing(Log(config, workdir, step, unlogged))) if first_process else None
        take_step = StepOfDrawnSize(optimizer, config, log)
        last = stack.enter_context(contextlib.closing(CheckpointWriter(workdir, "last", config)))
        stop_request = StopRequest()
        evaluations = stack.enter_context(
            contextlib.closing(Evaluations(network, config, workdir, truth, stop_request, log))
        )
        stack.enter_context(stop_request)
        started = StartedSteps(workdir, log)

        def checkpoint() -> Checkpoint:
            unlogged = log.unlogged if log else None
            return Checkpoint(step, state.variables, state.optimizer_state, position, unlogged=unlogged)

        if evaluations.are_missing(step):
            started.stop_requested = not evaluations.evaluate(checkpoint())

        # ----- The steps
        for batch, position_after in on_devices(batches, config):
            if step >= config.train.steps or started.stop_requested:
                break
            state, metrics = take_step(step, state, batch, stop_request.flags())
            step += 1
            position = position_after
            started.add(step, metrics)
            save_due = (
                evaluations.are_due(step) or step == config.train.steps or step % config.train.checkpoint_every == 0
            )
            started.read(newest=0 if save_due else 1, saved=saved)
            if started.stop_requested:
                started.read(newest=0, saved=saved)
            if not save_due and not started.stop_requested:
                continue
            if log:
                log.pause()
            last.save(checkpoint())
            saved = step
            if evaluations.are_due(step) and not started.stop_requested:
                started.stop_requested = not evaluations.evaluate(checkpoint())
        else:
            if step < config.train.steps:
                raise DataError(f"the batches came to an end at step {step} of {config.train.steps}")

    if first_process and started.stop_requested and (step < config.train.steps or evaluations.are_due(step)):
        print(f"stopped by a signal at step {step}; the same command goes on from there", file=sys.stderr)
    return state


def _announce(config: Config, workdir: Path, step: int, images_a_device: int) -> None:
    print(
        f"devices: {jax.device_count()} ({jax.local_device_count()} of this process), "
        f"processes: {jax.process_count()}, images a device: {images_a_device}",
        file=sys.stderr,
    )
    if step >= config.train.steps:
        print(f"the run in {workdir} has all its {config.train.steps} steps already", file=sys.stderr)
