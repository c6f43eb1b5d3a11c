"""The gradients of a round."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from elastic_jax import stacked
from elastic_jax.schedules.schedule import Round, Schedule

PyTree = Any


def read(schedule: Schedule, found: Round, t: Array, params: PyTree, snapshots: PyTree) -> PyTree:
    """v^i: x_t, or what the slot holds for who has read before: [...] and [C, ...] -> [K, ...]."""
    now = stacked.broadcast(params, schedule.num_awaited)
    if not schedule.num_slots:
        return now
    return stacked.where_rows(found.read_steps == t, now, stacked.take_rows(snapshots, found.slots))


def keep(schedule: Schedule, found: Round, t: Array, params: PyTree, new_params: PyTree, snapshots: PyTree) -> PyTree:
    """The slots after a round: what is read from now on is x_t or x_{t+1}; [C, ...] -> [C, ...]."""
    if not schedule.num_slots:
        return snapshots

    def put(place: Array, slots: PyTree) -> PyTree:
        is_new = found.next_reads[place] > t
        row = jax.tree.map(lambda new, old: jnp.where(is_new, new, old), new_params, params)
        return stacked.put_row(slots, found.kept_slots[place], row)

    return lax.fori_loop(0, found.kept_slots.shape[0], put, snapshots)


def gradients(
    oracle: Any, key: Array, schedule: Schedule, found: Round, views: PyTree, data: PyTree
) -> tuple[Array, PyTree]:
    """Losses [K] and gradients [K, ...] of a round; several of one worker are of different samples.

    An oracle takes n gradients for those of workers 0, ..., n - 1. Where they need not be, it is asked in two parts.
    """
    n, k = schedule.num_workers, schedule.num_awaited
    keys = stacked.worker_keys(key, found.workers + n * found.repeats)
    if k != n or not schedule.may_repeat:
        return oracle(keys, views, data, found.workers)
    parts = []
    for part in (slice(0, k // 2), slice(k // 2, k)):
        rows = jax.tree.map(lambda leaf, part=part: leaf[part], views)
        parts.append(oracle(keys[part], rows, data, found.workers[part]))
    return jax.tree.map(lambda first, second: jnp.concatenate([first, second]), *parts)


class Compensation(NamedTuple):
    """Smaller steps for gradients that were taken far away: α_k = min(C/‖x - v^k‖², α)."""

    limit: float
    """C > 0."""
    step_size: float
    """α > 0."""
    is_adaptive: bool = True
    """Which share of a step a gradient has depends on what was computed before."""

    def shares(self, distances_sq: Array) -> Array:
        """α_k/α: float[K], of ‖x - v^k‖²."""
        return self.limit / jnp.maximum(self.limit, self.step_size * distances_sq)
