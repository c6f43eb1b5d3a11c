"""What is asked of a clock."""

from __future__ import annotations

import numpy as np

from elastic_jax import arguments
from elastic_jax.clocks.clock import Clock
from elastic_jax.clocks.distributions import exponential


def check(clock: Clock | None, *, num_workers: int) -> Clock:
    """`clock`, or exponential times with mean 1 second for None, if it is one for so many workers.

    Raises:
        TypeError, ValueError: it is none, or one for another number of workers.
    """
    found = exponential() if clock is None else arguments.instance("clock", clock, Clock, "e.g. clocks.exponential()")
    if found.num_workers not in (None, num_workers):
        raise ValueError(f"clock = one of {found.num_workers} workers; it must have num_workers = {num_workers}")
    return found


def finite_means(clock: Clock, *, num_workers: int) -> np.ndarray:
    """E X of each worker: float64[n], seconds.

    Raises:
        TypeError, ValueError: it is no clock, or one for another number of workers; a mean is infinite.
    """
    means = check(clock, num_workers=num_workers).means(num_workers)
    if not np.all(np.isfinite(means)):
        worst = int(np.flatnonzero(~np.isfinite(means))[0])
        raise ValueError(
            f"clock has an infinite mean: E X of worker {worst} is infinite; it must be finite where a mean time is "
            "asked for, as with clocks.pareto(shape) for shape > 1"
        )
    return means
