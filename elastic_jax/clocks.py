"""Clocks: how many simulated seconds a worker needs for one gradient.

A clock decides in which order the gradients of an asynchronous method arrive and how long a step takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments


class Clock(NamedTuple):
    """A distribution of compute times; `clocks.exponential()` and its siblings make one."""

    draw: Callable[[Array, Array], Array]
    """`draw(key, workers int32[k]) -> float32[k]`, simulated seconds, > 0."""
    mean: float
    """Mean time of one gradient, simulated seconds."""
    staleness_second_moment: Callable[[int], float | None]
    """`staleness_second_moment(num_workers) -> E[s²]`, steps²: s is the staleness at a server that applies each
    gradient as it arrives; None where no closed form is known."""

    def covers(self, num_workers: int, staleness: int) -> bool:
        """Whether bounds made of this clock hold for each single schedule, and not only on average over them.

        Args:
            num_workers: n.
            staleness: the largest of the schedule at hand, steps.
        """
        promised = self.staleness_second_moment(num_workers)
        return promised is not None and promised >= staleness**2


def exponential(mean: float = 1.0) -> Clock:
    """Memoryless times: exponential with `mean` > 0 seconds. The next gradient comes from a uniformly random worker.

    The staleness at a server is geometric, P(s) = (1/n)(1 - 1/n)^s, so that E[s²] = (n - 1)(2n - 1).
    """
    mean = arguments.real("mean", mean, above=0.0)
    return Clock(partial(_exponential, mean=mean), mean, _geometric_second_moment)


def constant(seconds: float = 1.0) -> Clock:
    """Every gradient takes `seconds` > 0: the workers take turns, and the staleness is n - 1."""
    seconds = arguments.real("seconds", seconds, above=0.0)
    return Clock(partial(_constant, seconds=seconds), seconds, _round_robin_second_moment)


def check(clock: Clock | None) -> Clock:
    """`clock`, or exponential times with mean 1 second for None; raises `TypeError` for anything else."""
    return exponential() if clock is None else arguments.instance("clock", clock, Clock, "e.g. clocks.exponential()")


def _exponential(key: Array, workers: Array, *, mean: float) -> Array:
    return mean * jax.random.exponential(key, workers.shape, jnp.float32)


def _constant(key: Array, workers: Array, *, seconds: float) -> Array:
    del key
    return jnp.full(workers.shape, seconds, jnp.float32)


def _geometric_second_moment(num_workers: int) -> float:
    return float((num_workers - 1) * (2 * num_workers - 1))


def _round_robin_second_moment(num_workers: int) -> float:
    return float((num_workers - 1) ** 2)
