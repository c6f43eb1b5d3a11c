"""Times of functions, taken in turn, so that a noisy neighbour slows them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import jax


def medians(functions: Sequence[Callable[[], Any]], num_rounds: int, *, calls: int = 3) -> list[float]:
    """Median seconds of one call of each function, which are compiled by a first one.

    Args:
        functions: each returns arrays that are waited for.
        num_rounds: rounds, >= 1.
        calls: over which a round takes the mean, >= 1.
    """

    def seconds(function: Callable[[], Any]) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(function())
        return (time.perf_counter() - start) / calls

    for function in functions:
        jax.block_until_ready(function())
    rounds = [[seconds(function) for function in functions] for _ in range(num_rounds)]
    return [median(column) for column in zip(*rounds, strict=True)]
