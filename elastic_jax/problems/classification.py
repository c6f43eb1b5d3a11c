"""Classification by a flax module: cross-entropy on normalised inputs, evaluated by accuracy on the test set.

Inputs stay as they are on the device (images in uint8, a quarter of the memory) and are normalised in the
loss, by the mean and standard deviation of each channel over the training set. A module with batch
normalisation trains with the statistics of the mini-batch; see `normalization` for those at evaluation. Its
`objective` is the loss with these.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import Array

from elastic_jax import arguments, base, data
from elastic_jax.base import Params, PyTree
from elastic_jax.problems import flax_modules, normalization, supervised

CALIBRATION_BATCH_SIZE = 256


def loss(params: Params, batch: PyTree, *, module: nn.Module, mean: np.ndarray, std: np.ndarray) -> Array:
    """Mean cross-entropy of `batch` = (inputs [b, ...], targets int[b]), as in training: float[]."""
    inputs, targets = batch
    inputs = _normalise(inputs, mean, std, flax_modules.dtype(params))
    logits, _ = flax_modules.apply(module, {"params": params}, inputs, mutable=["batch_stats"])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))


def measure(
    variables: PyTree, batch: PyTree, *, module: nn.Module, mean: np.ndarray, std: np.ndarray
) -> dict[str, Array]:
    """Cross-entropy and accuracy of each example, as at evaluation: {"loss", "accuracy": float[b]}."""
    inputs, targets = batch
    inputs = _normalise(inputs, mean, std, flax_modules.dtype(variables["params"]))
    logits = flax_modules.apply(module, variables, inputs)
    return {
        "loss": optax.softmax_cross_entropy_with_integer_labels(logits, targets),
        "accuracy": (jnp.argmax(logits, axis=-1).astype(targets.dtype) == targets).astype(logits.dtype),
    }


def prepare(
    params: Params, calibration: PyTree, *, module: nn.Module, mean: np.ndarray, std: np.ndarray
) -> dict[str, PyTree]:
    """What `module` needs at evaluation: parameters, and batch statistics over `calibration` [r, b, ...]."""
    if not jax.tree.leaves(calibration):
        return {"params": params}
    inputs = _normalise(calibration, mean, std, flax_modules.dtype(params))
    return {"params": params, "batch_stats": normalization.batch_statistics(module, params, inputs)}


def from_module(
    module: nn.Module,
    *,
    num_workers: int,
    dataset: data.Dataset | None = None,
    batch_size: int = 32,
    num_calibration: int = 1024,
    split: str = "iid",
    alpha: float | None = None,
    seed: int = 0,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> base.Problem:
    """A problem from a flax module.

    Args:
        module: `module(inputs float[b, ...]) -> logits [b, num_classes]`, with parameters, and batch
            statistics by `normalization.Norm` if it has any.
        num_workers: n >= 1.
        dataset: of `data`, with integer targets; default the embedded digits.
        batch_size: >= 1, examples of a mini-batch of one worker.
        num_calibration: >= 1, training examples from which batch statistics are taken at evaluation, in
            batches of up to 256 (a remainder is left out): the same ones in every evaluation, drawn by
            `seed`. Without batch normalisation it has no effect.
        split: "iid", "by_label" or "dirichlet", see `data.shard`.
        alpha: > 0, concentration of the Dirichlet split.
        seed: of the split and of the choice of calibration examples.
        strategy: see `oracles.from_loss`.
        chunk: see `oracles.from_loss`.
        mesh: see `oracles.from_loss`.
    """
    dataset = check(dataset)
    arguments.instance("module", module, nn.Module, "a flax.linen module that maps inputs [b, ...] to logits")
    num_calibration = arguments.integer("num_calibration", num_calibration, low=1)
    seed = arguments.integer("seed", seed, low=0)
    inputs = dataset.train_inputs
    mean, std = channel_moments(inputs)
    bound: dict[str, Any] = {"module": module, "mean": mean, "std": std}
    one = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), jnp.float32)
    calibration: Any = ()
    if normalization.has_batch_statistics(module, one):
        total = min(num_calibration, len(inputs))
        size = min(CALIBRATION_BATCH_SIZE, total)
        chosen = np.random.default_rng(seed).permutation(len(inputs))[: total - total % size]
        calibration = inputs[chosen].reshape(-1, size, *inputs.shape[1:])
    return supervised.build(
        init=partial(flax_modules.init, module=module, inputs=(one,)),
        loss=partial(loss, **bound),
        measure=partial(measure, **bound),
        prepare=partial(prepare, **bound),
        calibration=calibration,
        constants=base.Constants(optimal_value=0.0),
        num_workers=num_workers,
        dataset=dataset,
        batch_size=batch_size,
        split=split,
        alpha=alpha,
        seed=seed,
        strategy=strategy,
        chunk=chunk,
        mesh=mesh,
    )


def check(dataset: data.Dataset | None) -> data.Dataset:
    """`dataset`, or the embedded digits for None; raises if it is no data set of classes."""
    dataset = data.load("digits") if dataset is None else dataset
    data.check(dataset)
    if dataset.num_classes < 2 or not np.issubdtype(dataset.train_targets.dtype, np.integer):
        raise ValueError(
            f"dataset = {dataset.name!r} has num_classes = {dataset.num_classes} and targets of dtype "
            f"{dataset.train_targets.dtype}; it must have integer targets of at least 2 classes"
        )
    labels = np.concatenate([dataset.train_targets, dataset.test_targets])
    if labels.min() < 0 or labels.max() >= dataset.num_classes:
        raise ValueError(
            f"dataset = {dataset.name!r} has labels from {labels.min()} to {labels.max()}; they must be in "
            f"[0, num_classes = {dataset.num_classes})"
        )
    return dataset


def channel_moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (1 where that is 0) over all axes but the last: float32[c] each."""
    axes = tuple(range(inputs.ndim - 1))
    total = np.zeros(inputs.shape[-1])
    total_of_squares = np.zeros(inputs.shape[-1])
    # in blocks: a float64 copy of all images would be large
    for block in np.array_split(inputs, 1 + len(inputs) // 1000):
        block = block.astype(np.float64)
        total += block.sum(axes)
        total_of_squares += (block**2).sum(axes)
    count = inputs.size / inputs.shape[-1]
    mean = total / count
    std = np.sqrt(np.maximum(total_of_squares / count - mean**2, 0.0))
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


def _normalise(inputs: Array, mean: np.ndarray, std: np.ndarray, dtype: jnp.dtype) -> Array:
    """(inputs - mean) / std by channel, in `dtype`."""
    shape = (1,) * (inputs.ndim - 1) + mean.shape
    return (inputs.astype(dtype) - mean.astype(dtype).reshape(shape)) / std.astype(dtype).reshape(shape)
