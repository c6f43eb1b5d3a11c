"""Bugs of mixing, planted on purpose: an algorithm in, the same algorithm with one mistake out.

What the algorithm declares by its arguments stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from elastic_jax import stacked
from elastic_jax.base import Algorithm, Info, PyTree
from proofs_check.planted import with_bug


def late_mixing(algorithm: Algorithm) -> Algorithm:
    """Mixes where t is a multiple of H, one step late, instead of where t + 1 is."""
    return with_bug(algorithm, _one_late)


def starting_late(algorithm: Algorithm) -> Algorithm:
    """The same, but not at t = 0: there is never more mixing than is declared."""
    return with_bug(algorithm, _one_late_after_the_start)


def mixing_every_step(algorithm: Algorithm) -> Algorithm:
    """Mixes in every step, whatever the period."""
    return with_bug(algorithm, _every_step)


def summing(algorithm: Algorithm) -> Algorithm:
    """Where rows are averaged, they become their sum."""
    return with_bug(algorithm, _sum)


def from_the_first(algorithm: Algorithm) -> Algorithm:
    """Each row takes half of row 0 where a mixing is due: rows sum to 1, and columns do not."""
    return with_bug(algorithm, partial(_other_mixing, mix=_half_of_the_first))


def never_mixing(algorithm: Algorithm) -> Algorithm:
    """What is due is left out."""
    return with_bug(algorithm, partial(_other_mixing, mix=_as_it_is))


def moved_anchor(algorithm: Algorithm) -> Algorithm:
    """The anchor is drawn to workers that have been drawn to it before."""
    return with_bug(algorithm, _to_moved_workers)


def prompt_average(algorithm: Algorithm) -> Algorithm:
    """What a round leaves to average is what the workers have now, one step ago, and not where the round began."""
    return with_bug(algorithm, _prompt)


def without_momentum(algorithm: Algorithm) -> Algorithm:
    """The anchor has no momentum, whatever is declared."""
    return with_bug(algorithm, _no_momentum)


def _one_late(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state._replace(num_steps=state.num_steps - 1), data)
    return new_state._replace(num_steps=state.num_steps + 1), info


def _one_late_after_the_start(
    key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any
) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state._replace(num_steps=jnp.maximum(state.num_steps - 1, 0)), data)
    return new_state._replace(num_steps=state.num_steps + 1), info


def _every_step(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    return partial(step, period=1)(key, state, data)


def _sum(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    new_state, info = step(key, state, data)
    factor = jnp.where(_is_due(state, bound), float(bound["num_workers"]), 1.0)
    return new_state._replace(local_params=stacked.scale(factor, new_state.local_params)), info


def _other_mixing(
    key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any, mix: Callable[..., Any]
) -> tuple[Any, Info]:
    return partial(step, mixing=bound["mixing"]._replace(mix=mix))(key, state, data)


def _half_of_the_first(key: Array, num_mixings: Array, rows: PyTree) -> PyTree:
    del key, num_mixings
    return jax.tree.map(lambda leaf: 0.5 * (leaf + leaf[:1]), rows)


def _as_it_is(key: Array, num_mixings: Array, rows: PyTree) -> PyTree:
    del key, num_mixings
    return rows


def _to_moved_workers(
    key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any
) -> tuple[Any, Info]:
    new_state, info = step(key, state, data)
    anchor, a = state.anchor_params, bound["elasticity"]
    gaps = jax.tree.map(lambda rows, one: a * (rows - one[None]), new_state.local_params, anchor)
    drawn = stacked.add(anchor, stacked.weighted_sum(jnp.ones(bound["num_workers"]), gaps))
    return new_state._replace(anchor_params=lax.cond(_is_due(state, bound), _first, _second, drawn, anchor)), info


def _prompt(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    field = "round_params" if hasattr(state, "round_params") else "anchor_params"
    now = state.local_params if field == "round_params" else stacked.worker_mean(state.local_params)
    return step(key, state._replace(**{field: now}), data)


def _no_momentum(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    return partial(step, anchor_decay=0.0)(key, state, data)


def _is_due(state: Any, bound: Any) -> Array:
    return (state.num_steps + 1) % bound["period"] == 0


def _first(one: PyTree, other: PyTree) -> PyTree:
    del other
    return one


def _second(one: PyTree, other: PyTree) -> PyTree:
    del one
    return other
