"""The optimiser and its learning rate (paper section 5)."""

from collections import Counter
from typing import Any

import jax
import optax

from amodal_jax.config import TrainConfig

REFERENCE_BATCH_SIZE = 8  # the paper's, for which learning rates are given


def learning_rate_schedule(train: TrainConfig) -> optax.Schedule:
    """The learning rate of each step, counted from 0.

    It rises linearly over the warm-up from `warmup_factor` of its value, then falls by ten at each of `decay_steps` or,
    with "cosine", along half a cosine to 0 at the last step. With `scale_learning_rate` it is proportional to the batch
    size (Goyal et al., "Accurate, Large Minibatch SGD").
    """
    base = train.learning_rate
    if train.scale_learning_rate:
        base *= train.batch_size / REFERENCE_BATCH_SIZE
    if train.schedule == "cosine":
        decay = optax.cosine_decay_schedule(base, train.steps)
    else:
        falls = {step: 0.1**times for step, times in Counter(train.decay_steps).items()}
        decay = optax.piecewise_constant_schedule(base, falls)
    if not train.warmup_steps:
        return decay
    # Both go on from step 0: a decay may begin within the warm-up, and a cosine has the length of the whole training.
    warmup = optax.linear_schedule(train.warmup_factor, 1.0, train.warmup_steps)
    return lambda step: warmup(step) * decay(step)


def make_optimizer(train: TrainConfig, *, frozen: tuple[str, ...] = ()) -> optax.GradientTransformation:
    """SGD with momentum or AdamW, for the network's parameters ("params" of its variables).

    Weight decay pulls on kernels, not on biases and normalisations; with SGD it is part of the gradient, as in every
    detector of the paper's comparison, with AdamW apart from it. Gradients are clipped by their global norm before
    all else, where that is asked for.

    Args:
      train: the schedule.
      frozen: how the paths of the parameters begin that stay as they are (see `trainable`).
    """

    def kernels(params):
        return jax.tree.map(lambda parameter: parameter.ndim > 1, params)

    decay = optax.add_decayed_weights(train.weight_decay, mask=kernels)
    if train.optimizer == "sgd":
        steps = [decay, optax.trace(train.momentum)]
    else:
        steps = [optax.scale_by_adam(), decay]
    if train.gradient_clip:
        steps.insert(0, optax.clip_by_global_norm(train.gradient_clip))
    train_all = optax.chain(*steps, optax.scale_by_learning_rate(learning_rate_schedule(train)))
    if not frozen:
        return train_all

    def labels(params):
        return jax.tree.map(lambda moves: "trainable" if moves else "frozen", trainable(params, frozen))

    return optax.multi_transform({"trainable": train_all, "frozen": optax.set_to_zero()}, labels)


def trainable(params: Any, frozen: tuple[str, ...]) -> Any:
    """For each parameter whether it is trained: those are not whose paths begin as `frozen` says, "backbone/conv1".

    Their gradients are stopped in the network; here weight decay is kept from them.
    """

    def moves(path, _):
        return not "/".join(key.key for key in path).startswith(frozen)

    return jax.tree_util.tree_map_with_path(moves, params)
