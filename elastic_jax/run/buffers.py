"""Buffers of fixed size for what is measured on the device, emptied by the host between chunks.

A buffer has one row for each measurement due since it was last emptied, and a spare one: what is measured where nothing
is due goes to the row that is due next, and is overwritten there. So rows are written without a condition, in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import stacked
from elastic_jax.base import PyTree
from elastic_jax.metrics import Metric, Total

MAX_BYTES = 2**22
MAX_ROWS = 2**16


def make(metrics: tuple[tuple[str, Metric], ...], values: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """{metric: tree of [rows + 1, ...]}, of zeros; the size depends on no run, so that all share one program.

    Args:
        metrics: names and metrics.
        values: {metric: tree of shapes of one measurement}; a total has a pair of them, sum and compensation.
    """
    made = {}
    for name, metric in metrics:
        value = (values[name], values[name]) if isinstance(metric.measure, Total) else values[name]
        rows = min(MAX_ROWS, max(2, MAX_BYTES // max(1, stacked.num_bytes(value))))
        made[name] = jax.tree.map(partial(_empty, rows + 1), value)
    return made


def num_rows(every: int, begin: Any, end: Any) -> Any:
    """How many multiples of `every` are in [begin, end)."""
    # ⌈end / every⌉ - ⌈begin / every⌉, where nothing can overflow
    return -((-end) // every) + ((-begin) // every)


def furthest(metrics: tuple[tuple[str, Metric], ...], made: Mapping[str, PyTree], begin: int) -> int:
    """Up to which step there is room, when the buffers were last emptied at step `begin`."""
    ends = [2**31 - 1]
    for name, metric in metrics:
        rows = stacked.num_rows(made[name]) - 1
        # one row is kept for the last step of the run, which may be no multiple of the cadence
        ends.append((num_rows(metric.every, 0, begin) + rows - 1) * metric.every)
    return min(ends)


def _empty(num: int, shape: Any) -> Array:
    return jnp.zeros((num, *shape.shape), shape.dtype)
