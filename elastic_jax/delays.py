"""Delay models: how many steps old the view of each worker is.

A delay of 0 is a gradient at the current parameters. Delays are drawn from the key of the schedule, never from that
of the samples: the schedule is oblivious. Every model declares the largest delay it can draw, which sizes the
buffers of the algorithm that uses it, and the mean and mean square of its draws, which bounds are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments


class DelayModel(NamedTuple):
    """A delay model; `delays.uniform(4)` and its siblings make one."""

    draw: Callable[[Array, Array, Array], Array]
    """`draw(key, step int32[], workers int32[k]) -> int32[k]`, steps, in [0, max_delay]."""
    max_delay: int
    """τ: the largest delay, steps."""
    mean: float
    """The mean delay over workers and draws, steps."""


def constant(delay: int) -> DelayModel:
    """Every worker is always exactly `delay` >= 0 steps late."""
    delay = arguments.integer("delay", delay, low=0)
    return DelayModel(partial(_constant, delay=delay), delay, float(delay))


def uniform(max_delay: int, *, min_delay: int = 0) -> DelayModel:
    """Each worker's delay is uniform on {min_delay, ..., max_delay}, 0 <= min_delay <= max_delay."""
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    min_delay = arguments.integer("min_delay", min_delay, low=0, high=max_delay)
    draw = partial(_uniform, min_delay=min_delay, max_delay=max_delay)
    return DelayModel(draw, max_delay, (min_delay + max_delay) / 2)


def geometric(mean: float, *, max_delay: int) -> DelayModel:
    """P(delay = s) ∝ (1 - q) q^s with q = mean/(1 + mean), for s <= max_delay.

    The memoryless delay of a server with 1 + mean equal workers, conditioned on not exceeding `max_delay`.

    Args:
        mean: > 0, steps; the mean before the condition. `DelayModel.mean` is the mean after it.
        max_delay: >= 0, steps.
    """
    mean = arguments.real("mean", mean, above=0.0)
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    ratio = mean / (1 + mean)
    return _from_probabilities(ratio ** np.arange(max_delay + 1))


def heavy_tailed(shape: float, *, max_delay: int) -> DelayModel:
    """P(delay = s) ∝ (1 + s)^-(1 + shape) for s <= max_delay: most gradients are fresh, a few are very late.

    Args:
        shape: > 0, the tail exponent a of P(delay >= s) ~ s^-a; the smaller the heavier.
        max_delay: >= 0, steps.
    """
    shape = arguments.real("shape", shape, above=0.0)
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    return _from_probabilities((1.0 + np.arange(max_delay + 1)) ** -(1.0 + shape))


def trace(recorded: Any) -> DelayModel:
    """Replays recorded delays, starting again from the first row after the last.

    Args:
        recorded: int[num_steps, num_workers], steps, >= 0.
    """
    table = np.asarray(recorded)
    if table.ndim != 2 or not table.size or not np.issubdtype(table.dtype, np.integer) or table.min() < 0:
        raise ValueError(
            f"recorded has shape {table.shape} and dtype {table.dtype}; it must be integers >= 0 of shape "
            "[num_steps, num_workers]"
        )
    return DelayModel(partial(_trace, recorded=table.astype(np.int32)), int(table.max()), float(table.mean()))


def check_fits(delays: DelayModel, *, max_delay: int | None, num_workers: int) -> int:
    """The number of past steps that a buffer must hold for `delays`: `max_delay`, or what the model needs if None."""
    arguments.instance("delays", delays, DelayModel, "e.g. delays.uniform(4)")
    recorded = getattr(delays.draw, "keywords", {}).get("recorded")
    if recorded is not None and recorded.shape[1] != num_workers:
        raise ValueError(f"delays = a trace of {recorded.shape[1]} workers; it must have num_workers = {num_workers}")
    if max_delay is None:
        return delays.max_delay
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    if delays.max_delay > max_delay:
        raise ValueError(
            f"delays = a model that draws up to {delays.max_delay} steps; it must draw at most max_delay = {max_delay}"
        )
    return max_delay


def _from_probabilities(weights: np.ndarray) -> DelayModel:
    probabilities = weights / weights.sum()
    mean = float(probabilities @ np.arange(len(weights)))
    thresholds = np.cumsum(probabilities)[:-1].astype(np.float32)
    return DelayModel(partial(_inverse, thresholds=thresholds), len(weights) - 1, mean)


def _constant(key: Array, step: Array, workers: Array, *, delay: int) -> Array:
    del key, step
    return jnp.full(workers.shape, delay, jnp.int32)


def _uniform(key: Array, step: Array, workers: Array, *, min_delay: int, max_delay: int) -> Array:
    del step
    return jax.random.randint(key, workers.shape, min_delay, max_delay + 1, dtype=jnp.int32)


def _inverse(key: Array, step: Array, workers: Array, *, thresholds: np.ndarray) -> Array:
    """The inverse of the distribution function at one uniform number for each worker."""
    del step
    coins = jax.random.uniform(key, workers.shape, jnp.float32)
    return jnp.sum(coins[:, None] >= thresholds[None, :], axis=1, dtype=jnp.int32)


def _trace(key: Array, step: Array, workers: Array, *, recorded: np.ndarray) -> Array:
    del key
    return jnp.asarray(recorded)[step % recorded.shape[0], workers]
