"""Drop models: which messages between workers are not delivered in a step.

Drops are drawn from the key of the schedule, never from that of the samples: the schedule is oblivious. What a
worker sends to itself always arrives. Every model declares what bounds are made of: the rate of independent drops, or
how many messages of one sender in a row a receiver can miss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments, base


class DropModel(NamedTuple):
    """A drop model; `drops.random(0.1)` and its siblings make one."""

    draw: Callable[[Array, Array, int], Array]
    """`draw(key, step int32[], num_workers) -> bool[n receiver, n sender]`, what is delivered; True on the diagonal."""
    rate: float | None
    """q in [0, 1): the probability of a drop, independent over pairs and steps; None if drops depend on each other."""
    max_consecutive: int | None
    """The most drops in a row between one sender and one receiver, steps; None if there is no limit."""
    is_adaptive: bool = False
    """True if drops depend on what is sent: then the schedule is not oblivious."""

    def covers(self, num_workers: int, staleness: int) -> bool:
        """Whether bounds made of this model hold for each single schedule, and not only on average over them.

        Args:
            num_workers: n.
            staleness: the largest of the schedule at hand, steps.
        """
        del num_workers
        return staleness == 0 or self.max_consecutive is not None


def none() -> DropModel:
    """Everything is delivered."""
    return DropModel(_none, 0.0, 0)


def random(rate: float) -> DropModel:
    """Each message is dropped with probability `rate` in [0, 1), independently of all others."""
    rate = arguments.real("rate", rate, low=0.0)
    if rate >= 1:
        raise ValueError(f"rate = {rate!r} is out of range; it must be a finite number >= 0.0 and < 1.0")
    return DropModel(partial(_random, rate=rate), rate, None if rate else 0)


def alternating() -> DropModel:
    """In steps 0, 2, 4, ... everything is dropped, in the others nothing: the worst case of one drop in a row."""
    return DropModel(_alternating, None, 1)


def trace(recorded: Any) -> DropModel:
    """Replays recorded deliveries, starting again from the first row after the last.

    Args:
        recorded: bool[num_steps, n receiver, n sender], what is delivered; True on the diagonal.
    """
    table = np.asarray(recorded)
    if table.ndim != 3 or table.shape[1] != table.shape[2] or not table.size or table.dtype != np.bool_:
        raise ValueError(
            f"recorded has shape {table.shape} and dtype {table.dtype}; it must be booleans of shape "
            "[num_steps, num_workers, num_workers]"
        )
    if not np.diagonal(table, axis1=1, axis2=2).all():
        raise ValueError("recorded is False on the diagonal; it must be True: what a worker sends to itself arrives")
    return DropModel(partial(_trace, recorded=table), None, _longest_run(~table))


def record(model: DropModel, key: Array, *, num_steps: int, num_workers: int) -> np.ndarray:
    """What is delivered in a run with this key, for `trace` to replay.

    Args:
        model: any that is oblivious.
        key: of the run, as `run.run` and `base.step_key` take it.
        num_steps: T >= 1.
        num_workers: n >= 1.

    Returns:
        bool[T, n receiver, n sender].
    """
    arguments.keys("key", key)
    num_workers = check_fits(model, num_workers=arguments.integer("num_workers", num_workers, low=1))
    if model.is_adaptive:
        raise ValueError("model = one that looks at what is sent; it must be oblivious to be recorded without a run")
    num_steps = arguments.integer("num_steps", num_steps, low=1)

    def draw(step: Array) -> Array:
        return model.draw(base.split_key(base.step_key(key, step)).schedule, step, num_workers)

    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(num_steps, dtype=jnp.int32)))


def check_fits(drops: DropModel, *, num_workers: int) -> int:
    """`num_workers`, between whom `drops` must be."""
    arguments.instance("drops", drops, DropModel, "e.g. drops.random(0.1)")
    recorded = getattr(drops.draw, "keywords", {}).get("recorded")
    if recorded is not None and recorded.shape[1] != num_workers:
        raise ValueError(f"drops = a trace of {recorded.shape[1]} workers; it must have num_workers = {num_workers}")
    return num_workers


def _longest_run(is_dropped: np.ndarray) -> int | None:
    """The most drops in a row of one pair where the trace [T, n, n] is repeated; None if one is always dropped."""
    if is_dropped.all(axis=0).any():
        return None
    running, longest = np.zeros(is_dropped.shape[1:], int), 0
    for row in [*is_dropped, *is_dropped]:
        running = np.where(row, running + 1, 0)
        longest = max(longest, int(running.max()))
    return longest


def _none(key: Array, step: Array, num_workers: int) -> Array:
    del key, step
    return jnp.ones((num_workers, num_workers), bool)


def _random(key: Array, step: Array, num_workers: int, *, rate: float) -> Array:
    del step
    coins = jax.random.uniform(key, (num_workers, num_workers), jnp.float32)
    return (coins >= rate) | jnp.eye(num_workers, dtype=bool)


def _alternating(key: Array, step: Array, num_workers: int) -> Array:
    del key
    return (step % 2 == 1) | jnp.eye(num_workers, dtype=bool)


def _trace(key: Array, step: Array, num_workers: int, *, recorded: np.ndarray) -> Array:
    del key, num_workers
    return jnp.asarray(recorded)[step % recorded.shape[0]]
