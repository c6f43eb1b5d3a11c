"""The same run, measured against the sequence that applies every gradient in full: x_{t+1} = x_t - α Σ_i w_i g_i.

What an algorithm loses for ever it also leaves out of its own global parameters, so that its views look consistent
with them. Against this sequence the loss shows.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import stacked
from elastic_jax.base import Algorithm, Constants, Info, Params, PyTree


class State(NamedTuple):
    """State of a run and of the sequence beside it."""

    inner: Any
    """The algorithm's own."""
    full_params: Params
    """[...], parameter units. x_t."""


def tracked(algorithm: Algorithm, *, step_size: float) -> Algorithm:
    """`algorithm`, whose global parameters are those of the full gradients; nothing is promised for them."""
    return Algorithm(
        init=partial(_init, algorithm=algorithm),
        step=partial(_step, algorithm=algorithm, step_size=step_size),
        global_params=_global_params,
        consistency_bound=_nothing,
        num_workers=algorithm.num_workers,
    )


def _init(key: Array, params: Params, *, algorithm: Algorithm) -> State:
    return State(algorithm.init(key, params), jax.tree.map(jnp.copy, params))


def _step(key: Array, state: State, data: PyTree, *, algorithm: Algorithm, step_size: float) -> tuple[State, Info]:
    inner, info = algorithm.step(key, state.inner, data)
    updates = stacked.scale(-step_size, info.grads)
    full_params = stacked.add(state.full_params, stacked.weighted_sum(info.weights, updates))
    return State(inner, full_params), info._replace(updates=updates)


def _global_params(state: State) -> Params:
    return state.full_params


def _nothing(constants: Constants, params: Params) -> None:
    del constants, params
