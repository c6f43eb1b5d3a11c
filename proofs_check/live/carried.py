"""What is carried through a run of each check: its worst step so far, and the first that violated it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from elastic_jax.base import PyTree
from elastic_jax.metrics import Moment
from proofs_check.live import rounding
from proofs_check.live.rounding import Comparison, Step


class Record(NamedTuple):
    """What is kept of one check."""

    worst: Array
    """float32[]. The largest ratio so far; NaN once it was."""
    worst_step: Array
    """int32[]. Where it was; -1 before there was one."""
    first_violated: Array
    """int32[]. The first step with a ratio above 1; -1 if there is none."""
    num_steps: Array
    """int32[]. Steps in which the comparison could have failed."""


def start(*, measures: Mapping[str, Callable[[Step], Comparison]]) -> dict[str, PyTree]:
    """Before the first step; no two of the arrays are one, so that all can be donated."""
    return {
        "largest_grad": jnp.zeros((), jnp.float32),
        "drift": jnp.zeros((), jnp.float32),
        **{
            label: Record(
                worst=jnp.zeros((), jnp.float32),
                worst_step=jnp.full((), -1, jnp.int32),
                first_violated=jnp.full((), -1, jnp.int32),
                num_steps=jnp.zeros((), jnp.int32),
            )
            for label in measures
        },
    }


def update(
    carried: dict[str, PyTree], moment: Moment, *, measures: Mapping[str, Callable[[Step], Comparison]]
) -> dict[str, PyTree]:
    """After one more."""
    step = rounding.look(moment, carried["largest_grad"], carried["drift"])
    return {
        "largest_grad": step.largest_grad,
        "drift": step.drift,
        **{label: _noted(carried[label], measure(step), moment.num_steps) for label, measure in measures.items()},
    }


def _noted(record: Record, found: Comparison, num_steps: Array) -> Record:
    is_worse = found.is_measured & ~(found.ratio <= record.worst) & ~jnp.isnan(record.worst)
    is_worse = is_worse | (found.is_measured & (record.worst_step < 0))
    is_violated = found.is_measured & ~(found.ratio <= 1) & (record.first_violated < 0)
    return Record(
        worst=jnp.where(is_worse, found.ratio, record.worst),
        worst_step=jnp.where(is_worse, num_steps, record.worst_step),
        first_violated=jnp.where(is_violated, num_steps, record.first_violated),
        num_steps=record.num_steps + found.is_measured.astype(jnp.int32),
    )
