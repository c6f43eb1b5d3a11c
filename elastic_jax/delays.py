"""Delay models: how many steps old the view of each worker is, or how long each message is on its way.

A delay of 0 is a gradient at the current parameters. Delays are drawn from the key of the schedule, never from that
of the samples: the schedule is oblivious. One model is not, `largest_late`: an adversary, who says so. Every model
declares the largest delay it can draw, which sizes the buffers of the algorithm that uses it, and the mean of its
draws. The worst case of all models with a largest delay τ is `constant(τ)`: everything as old as it may be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments, base, stacked


class DelayModel(NamedTuple):
    """A delay model; `delays.uniform(4)` and its siblings make one."""

    draw: Callable[[Array, Array, Array], Array]
    """`draw(key, step int32[], workers int32[k]) -> int32[k]`, steps, in [0, max_delay]."""
    draw_pairs: Callable[[Array, Array, Array], Array]
    """`draw_pairs(key, step int32[], sizes float[n]) -> int32[n receiver, n sender]`, steps, in [0, max_delay], 0 from
    a worker to itself; `sizes` are the norms of what is sent, at which only an adversary looks."""
    max_delay: int
    """τ: the largest delay, steps."""
    mean: float
    """The mean delay over workers and draws, steps."""
    is_paired: bool = False
    """True if a delay is one of a sender and a receiver, and `draw` has no meaning."""
    is_adaptive: bool = False
    """True if delays depend on what is sent: then the schedule is not oblivious."""


def constant(delay: int) -> DelayModel:
    """Every worker is always exactly `delay` >= 0 steps late."""
    delay = arguments.integer("delay", delay, low=0)
    return _oblivious(partial(_constant, delay=delay), delay, float(delay))


def uniform(max_delay: int, *, min_delay: int = 0) -> DelayModel:
    """Each worker's delay is uniform on {min_delay, ..., max_delay}, 0 <= min_delay <= max_delay."""
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    min_delay = arguments.integer("min_delay", min_delay, low=0, high=max_delay)
    draw = partial(_uniform, min_delay=min_delay, max_delay=max_delay)
    return _oblivious(draw, max_delay, (min_delay + max_delay) / 2)


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


def alternating(max_delay: int) -> DelayModel:
    """In turn 0 and `max_delay` >= 0 steps: late are the workers i with t + i odd.

    What comes at once overtakes what was sent before it, unless a channel keeps the order.
    """
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    return _oblivious(partial(_alternating, max_delay=max_delay), max_delay, max_delay / 2)


def largest_late(max_delay: int) -> DelayModel:
    """An adversary: the larger half of the messages of a step is `max_delay` >= 0 steps late, the others come at once.

    It looks at what is sent, so the schedule is not oblivious: bounds that hold for every run remain, those that rest
    on independent noise do not.
    """
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    draw_pairs = partial(_largest_late, max_delay=max_delay)
    return DelayModel(_undrawn, draw_pairs, max_delay, max_delay / 2, is_paired=True, is_adaptive=True)


def trace(recorded: Any) -> DelayModel:
    """Replays recorded delays, starting again from the first row after the last.

    Args:
        recorded: int[num_steps, num_workers], steps, >= 0; or int[num_steps, num_workers, num_workers], a delay for
            each receiver and sender, 0 from a worker to itself.
    """
    table = np.asarray(recorded)
    if table.ndim not in (2, 3) or not table.size or not np.issubdtype(table.dtype, np.integer) or table.min() < 0:
        raise ValueError(
            f"recorded has shape {table.shape} and dtype {table.dtype}; it must be integers >= 0 of shape "
            "[num_steps, num_workers] or [num_steps, num_workers, num_workers]"
        )
    table, longest, mean = table.astype(np.int32), int(table.max()), float(table.mean())
    if table.ndim == 2:
        return _oblivious(partial(_trace, recorded=table), longest, mean)
    if table.shape[1] != table.shape[2] or np.any(np.diagonal(table, axis1=1, axis2=2)):
        raise ValueError(
            f"recorded has shape {table.shape}; it must be [num_steps, num_workers, num_workers], with 0 from a worker "
            "to itself"
        )
    return DelayModel(_undrawn, partial(_pair_trace, recorded=table), longest, mean, is_paired=True)


def record(model: DelayModel, key: Array, *, num_steps: int, num_workers: int) -> np.ndarray:
    """The delays that a run with this key draws, for `trace` to replay.

    Args:
        model: any that is oblivious.
        key: of the run, as `run.run` and `base.step_key` take it.
        num_steps: T >= 1.
        num_workers: n >= 1.

    Returns:
        int32[T, n receiver, n sender], steps.
    """
    arguments.instance("model", model, DelayModel, "e.g. delays.uniform(4)")
    if model.is_adaptive:
        raise ValueError("model = one that looks at what is sent; it must be oblivious to be recorded without a run")
    num_steps = arguments.integer("num_steps", num_steps, low=1)
    num_workers = arguments.integer("num_workers", num_workers, low=1)

    def draw(step: Array) -> Array:
        return model.draw_pairs(base.split_key(base.step_key(key, step)).schedule, step, jnp.zeros(num_workers))

    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(num_steps, dtype=jnp.int32)))


def check_fits(delays: DelayModel, *, max_delay: int | None, num_workers: int, takes_pairs: bool = False) -> int:
    """The number of past steps that a buffer must hold for `delays`: `max_delay`, or what the model needs if None."""
    arguments.instance("delays", delays, DelayModel, "e.g. delays.uniform(4)")
    if delays.is_paired and not takes_pairs:
        raise ValueError(
            "delays = a model of senders and receivers; it must be one of workers, e.g. delays.uniform(4), since here "
            "a worker is as late to all"
        )
    recorded = getattr(delays.draw_pairs if delays.is_paired else delays.draw, "keywords", {}).get("recorded")
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


def _oblivious(draw: Callable[[Array, Array, Array], Array], max_delay: int, mean: float) -> DelayModel:
    return DelayModel(draw, partial(_pairs, draw=draw), max_delay, mean)


def _from_probabilities(weights: np.ndarray) -> DelayModel:
    probabilities = weights / weights.sum()
    mean = float(probabilities @ np.arange(len(weights)))
    thresholds = np.cumsum(probabilities)[:-1].astype(np.float32)
    return _oblivious(partial(_inverse, thresholds=thresholds), len(weights) - 1, mean)


def _pairs(key: Array, step: Array, sizes: Array, *, draw: Callable[[Array, Array, Array], Array]) -> Array:
    """For every receiver a draw of its own, of the delays of all senders."""
    workers = jnp.arange(sizes.shape[0], dtype=jnp.int32)
    drawn = jax.vmap(draw, (0, None, None))(stacked.worker_keys(key, workers), step, workers)
    return _not_to_oneself(drawn)


def _not_to_oneself(drawn: Array) -> Array:
    return jnp.where(jnp.eye(drawn.shape[0], dtype=bool), 0, drawn)


def _undrawn(key: Array, step: Array, workers: Array) -> Array:
    del key, step, workers
    raise ValueError("delays = a model of senders and receivers; it has no delay of a worker alone")


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


def _alternating(key: Array, step: Array, workers: Array, *, max_delay: int) -> Array:
    del key
    return jnp.where((step + workers) % 2 == 1, max_delay, 0).astype(jnp.int32)


def _largest_late(key: Array, step: Array, sizes: Array, *, max_delay: int) -> Array:
    del key, step
    ranks = jnp.sum(sizes[:, None] > sizes[None, :], axis=1)
    late = jnp.where(ranks >= sizes.shape[0] // 2, max_delay, 0).astype(jnp.int32)
    return _not_to_oneself(jnp.broadcast_to(late, (sizes.shape[0], sizes.shape[0])))


def _trace(key: Array, step: Array, workers: Array, *, recorded: np.ndarray) -> Array:
    del key
    return jnp.asarray(recorded)[step % recorded.shape[0], workers]


def _pair_trace(key: Array, step: Array, sizes: Array, *, recorded: np.ndarray) -> Array:
    del key, sizes
    return jnp.asarray(recorded)[step % recorded.shape[0]]
