"""Crash models: which workers die in a step, and whom their last message still reaches.

A worker that has died never acts again. Crashes are drawn from the key of the schedule, never from that of the
samples: the schedule is oblivious. Every model declares its budget f, the number of workers that die in a whole run,
which bounds are made of: a worker leaves others without its gradient only in the step in which it dies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import arguments, base


class CrashModel(NamedTuple):
    """A crash model; `crashes.random(2, rate=0.01)` and its siblings make one."""

    draw: Callable[[Array, Array, Array], tuple[Array, Array]]
    """`draw(key, step int32[], is_alive bool[n]) -> (is_dying bool[n], reaches bool[n receiver, n sender])`: who of
    those alive dies in this step, never the last one, and whom the message of a dying one reaches (that of any other
    reaches all)."""
    max_crashes: int
    """f: how many workers die in a run, at most."""
    is_adaptive: bool = False
    """True if crashes depend on what is sent: then the schedule is not oblivious."""


def none() -> CrashModel:
    """Nobody dies."""
    return CrashModel(_none, 0)


def random(max_crashes: int, *, rate: float, reach: float = 0.5) -> CrashModel:
    """Every worker dies in a step with the same probability, as long as the budget lasts.

    Args:
        max_crashes: f >= 0.
        rate: in [0, 1], the probability that a worker dies in a step; of more than the budget allows, those die that
            a further coin chooses.
        reach: in [0, 1], the probability with which the last message of a dying worker reaches each other one.
    """
    max_crashes = arguments.integer("max_crashes", max_crashes, low=0)
    rate = arguments.real("rate", rate, low=0.0, high=1.0)
    reach = arguments.real("reach", reach, low=0.0, high=1.0)
    return CrashModel(partial(_random, max_crashes=max_crashes, rate=rate, reach=reach), max_crashes)


def worst(max_crashes: int, *, at: int = 0) -> CrashModel:
    """The last f workers die together, and only worker 0 hears them: all other survivors lack f gradients for ever.

    With this all but one survivor attains the bound, f M / n. It takes two survivors, f <= n - 2.

    Args:
        max_crashes: f >= 0.
        at: >= 0, the step in which they die; the first is 0.
    """
    max_crashes = arguments.integer("max_crashes", max_crashes, low=0)
    at = arguments.integer("at", at, low=0)
    return CrashModel(partial(_worst, max_crashes=max_crashes, at=at), max_crashes)


def trace(recorded: Any) -> CrashModel:
    """Replays recorded crashes.

    Args:
        recorded: bool[num_steps, n receiver, n sender], who hears whom. A worker that does not hear itself dies in
            that step, and the rest of its column tells whom its last message reaches; for senders that do not die the
            column means nothing. After the last row nobody dies.
    """
    table = np.asarray(recorded)
    if table.ndim != 3 or table.shape[1] != table.shape[2] or not table.size or table.dtype != np.bool_:
        raise ValueError(
            f"recorded has shape {table.shape} and dtype {table.dtype}; it must be booleans of shape "
            "[num_steps, num_workers, num_workers]"
        )
    max_crashes = int(np.any(~np.diagonal(table, axis1=1, axis2=2), axis=0).sum())
    if max_crashes == len(table[0]):
        raise ValueError(f"recorded has crashes of all {max_crashes} workers; it must leave at least one alive")
    return CrashModel(partial(_trace, recorded=table), max_crashes)


def record(model: CrashModel, key: Array, *, num_steps: int, num_workers: int) -> np.ndarray:
    """Who hears whom in a run with this key, for `trace` to replay.

    Args:
        model: any that is oblivious.
        key: of the run, as `run.run` and `base.step_key` take it.
        num_steps: T >= 1.
        num_workers: n >= 1.

    Returns:
        bool[T, n receiver, n sender]: False on the diagonal for a worker that dies in that step, and in its column
        for those that its message does not reach; True elsewhere.
    """
    arguments.keys("key", key)
    num_workers = check_fits(model, num_workers=arguments.integer("num_workers", num_workers, low=1))
    if model.is_adaptive:
        raise ValueError("model = one that looks at what is sent; it must be oblivious to be recorded without a run")
    num_steps = arguments.integer("num_steps", num_steps, low=1)

    def one_step(is_alive: Array, step: Array) -> tuple[Array, Array]:
        key_schedule = base.split_key(base.step_key(key, step)).schedule
        is_dying, reaches = model.draw(key_schedule, step, is_alive)
        hears = jnp.where(is_dying[None, :], reaches, True)
        return is_alive & ~is_dying, jnp.where(jnp.eye(num_workers, dtype=bool), ~is_dying[None, :], hears)

    steps = jnp.arange(num_steps, dtype=jnp.int32)
    return np.asarray(lax.scan(one_step, jnp.ones(num_workers, bool), steps)[1])


def check_fits(crashes: CrashModel, *, num_workers: int) -> int:
    """`num_workers`, of whom `crashes` must leave at least one alive."""
    arguments.instance("crashes", crashes, CrashModel, "e.g. crashes.random(1, rate=0.01)")
    recorded = getattr(crashes.draw, "keywords", {}).get("recorded")
    if recorded is not None and recorded.shape[1] != num_workers:
        raise ValueError(f"crashes = a trace of {recorded.shape[1]} workers; it must have num_workers = {num_workers}")
    arguments.integer("max_crashes", crashes.max_crashes, low=0, high=num_workers - 1)
    return num_workers


def _none(key: Array, step: Array, is_alive: Array) -> tuple[Array, Array]:
    del key, step
    return jnp.zeros_like(is_alive), jnp.ones((is_alive.shape[0],) * 2, bool)


def _random(
    key: Array, step: Array, is_alive: Array, *, max_crashes: int, rate: float, reach: float
) -> tuple[Array, Array]:
    """Of the workers whose coin says so, those with the smallest further coins die, as many as the budget has left."""
    del step
    n = is_alive.shape[0]
    dies, order = jax.random.uniform(jax.random.fold_in(key, 0), (2, n), jnp.float32)
    is_hit = is_alive & (dies < rate)
    num_alive = jnp.sum(is_alive, dtype=jnp.int32)
    num_allowed = jnp.minimum(max_crashes - (n - num_alive), num_alive - 1)
    rank = jnp.sum(is_hit[None, :] & (order[None, :] < order[:, None]), axis=1, dtype=jnp.int32)
    reaches = jax.random.uniform(jax.random.fold_in(key, 1), (n, n), jnp.float32) < reach
    return is_hit & (rank < num_allowed), reaches


def _worst(key: Array, step: Array, is_alive: Array, *, max_crashes: int, at: int) -> tuple[Array, Array]:
    del key
    n = is_alive.shape[0]
    workers = jnp.arange(n)
    return is_alive & (workers >= n - max_crashes) & (step == at), jnp.broadcast_to(workers[:, None] == 0, (n, n))


def _trace(key: Array, step: Array, is_alive: Array, *, recorded: np.ndarray) -> tuple[Array, Array]:
    del key
    reaches = jnp.asarray(recorded)[jnp.minimum(step, recorded.shape[0] - 1)]
    return is_alive & ~jnp.diagonal(reaches), reaches
