"""Bugs of meetings, planted on purpose: an algorithm in, the same algorithm with one mistake out.

What the algorithm declares by its arguments stays as it was. All are for one edge at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
from jax import Array

from elastic_jax.base import Algorithm, Info, PyTree
from proofs_check.planted import with_bug

Plant: TypeAlias = Callable[[Algorithm], Algorithm]


def one_sided(algorithm: Algorithm, *, share: float = 0.5, is_ordered: bool = False) -> Algorithm:
    """Of those who meet one reads the other's row and goes `share` of the way there; the other keeps what it has.

    Args:
        algorithm: any.
        share: of the way.
        is_ordered: the reader is the one with the smaller number.
    """
    return with_bug(algorithm, partial(_one_sided, share=share, is_ordered=is_ordered))


def counted_twice(algorithm: Algorithm) -> Algorithm:
    """The last step of a turn is added once more at the meeting."""
    return with_bug(algorithm, _counted_twice)


def half_way(algorithm: Algorithm) -> Algorithm:
    """Those who meet go half of the way to their mean."""
    return with_bug(algorithm, _half_way)


def never_meeting(algorithm: Algorithm) -> Algorithm:
    """Those who meet keep what they have reached."""
    return with_bug(algorithm, _never_meeting)


def more_steps(algorithm: Algorithm, *, factor: int) -> Algorithm:
    """Workers take `factor` times as many steps on average as is declared."""
    return with_bug(algorithm, partial(_more_steps, local_steps=factor * algorithm.step.keywords["local_steps"]))  # type: ignore[attr-defined]


def uphill(algorithm: Algorithm) -> Algorithm:
    """Gradients enter with the wrong sign."""
    return with_bug(algorithm, _uphill)


def nothing_lags(algorithm: Algorithm) -> Algorithm:
    """There is no last batch."""
    return with_bug(algorithm, _nothing_lags)


def _at_meetings(old: Any, new: Any, rows: Array) -> Any:
    """The state in which those who have just met have `rows` [2, ...]."""
    is_due = jnp.max(old.remaining_steps) == 1
    put = new.local_params.at[old.next_workers].set(rows)
    return new._replace(local_params=jnp.where(is_due, put, new.local_params))


def _reached(old: Any, info: Info) -> Array:
    """[2, ...]. Where those who meet were just before."""
    return old.local_params[old.next_workers] + info.updates


def _one_sided(
    key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any, share: float, is_ordered: bool
) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state, data)
    reached, workers = _reached(state, info), state.next_workers
    is_reader = (workers < workers[::-1]) if is_ordered else jnp.array([True, False])
    rows = jnp.where(is_reader[:, None], reached + share * (reached[::-1] - reached), reached)
    return _at_meetings(state, new_state, rows), info


def _counted_twice(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state, data)
    return _at_meetings(state, new_state, new_state.local_params[state.next_workers] + info.updates), info


def _half_way(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state, data)
    reached = _reached(state, info)
    return _at_meetings(state, new_state, (reached + new_state.local_params[state.next_workers]) / 2), info


def _never_meeting(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state, data)
    return _at_meetings(state, new_state, _reached(state, info)), info


def _more_steps(
    key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any, local_steps: int
) -> tuple[Any, Info]:
    del bound
    return step(key, state, data, local_steps=local_steps)


def _uphill(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    right = step.keywords["oracle"]  # type: ignore[attr-defined]

    def wrong(keys: Array, views: PyTree, data: PyTree, workers: Array) -> tuple[Array, PyTree]:
        losses, grads = right(keys, views, data, workers)
        return losses, -grads

    return step(key, state, data, oracle=wrong)


def _nothing_lags(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state._replace(last_batches=jnp.zeros_like(state.last_batches)), data)
    is_due = jnp.max(state.remaining_steps) == 1
    return new_state._replace(last_batches=jnp.where(is_due, new_state.last_batches, state.last_batches)), info
