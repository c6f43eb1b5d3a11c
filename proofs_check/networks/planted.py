"""Bugs of pushes and of estimates, planted on purpose: an algorithm in, the same algorithm with one mistake out.

What the algorithm declares by its arguments stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import stacked
from elastic_jax.base import Algorithm, Info, PyTree
from elastic_jax.compressors import Compressor
from proofs_check.planted import with_bug


def weights_stay(algorithm: Algorithm) -> Algorithm:
    """Numerators are pushed, weights are not."""
    return with_bug(algorithm, _weights_stay)


def weights_told(algorithm: Algorithm) -> Algorithm:
    """Gradients are taken at numerators, not at numerators over weights."""
    return with_bug(algorithm, _undivided)


def lossy_pushes(algorithm: Algorithm) -> Algorithm:
    """A tenth of everything that is sent never arrives; what is kept is kept."""
    return with_bug(algorithm, _lossy)


def forgetful(algorithm: Algorithm) -> Algorithm:
    """A tenth of what a worker keeps is lost, of numerators and weights alike."""
    return with_bug(algorithm, _forgetful)


def transposed_shares(algorithm: Algorithm) -> Algorithm:
    """Receivers weigh what they hear, as a mean: rows of P sum to 1, columns do not."""
    return with_bug(algorithm, _transposed)


def differing_copies(algorithm: Algorithm) -> Algorithm:
    """Receivers decode half of each message, while senders add all of it to what they think is known of them."""
    return with_bug(algorithm, _differing)


def nothing_arrives(compressor: Compressor) -> Compressor:
    """What is declared stays; what is decoded is 0."""
    return compressor._replace(decode=partial(_decode_nothing, decode=compressor.decode))


def _weights_stay(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state, data)
    return new_state._replace(push_weights=state.push_weights), info


def _undivided(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    del bound
    new_state, info = step(key, state, data)
    return new_state, info._replace(views=state.pushed_params)


def _lossy(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    push = partial(_push_less, push=bound["shares"].push)
    return partial(step, shares=bound["shares"]._replace(push=push))(key, state, data)


def _push_less(key: Array, num_rounds: Array, rows: PyTree, *, push: Callable[..., Any]) -> tuple[PyTree, PyTree]:
    kept, sent = push(key, num_rounds, rows)
    return kept, stacked.scale(0.9, sent)


def _forgetful(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    push = partial(_keep_less, push=bound["shares"].push)
    return partial(step, shares=bound["shares"]._replace(push=push))(key, state, data)


def _keep_less(key: Array, num_rounds: Array, rows: PyTree, *, push: Callable[..., Any]) -> tuple[PyTree, PyTree]:
    kept, sent = push(key, num_rounds, rows)
    return stacked.scale(0.9, kept), sent


def _transposed(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    right = bound["shares"]
    push = partial(_push_by, matrices=np.swapaxes(right.matrices, 1, 2))
    return partial(step, shares=right._replace(push=push))(key, state, data)


def _push_by(key: Array, num_rounds: Array, rows: PyTree, *, matrices: np.ndarray) -> tuple[PyTree, PyTree]:
    del key
    matrix = jnp.asarray(matrices)[num_rounds % len(matrices)]
    own = jnp.diag(jnp.diag(matrix))
    return stacked.weighted_sum(own, rows), stacked.weighted_sum(matrix - own, rows)


def _differing(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], bound: Any) -> tuple[Any, Info]:
    new_state, info = step(key, state, data)
    sent = stacked.subtract(new_state.estimates, state.estimates)
    matrix = np.asarray(bound["topology"].mixing_matrix)
    missing = stacked.weighted_sum(jnp.asarray(matrix - np.diag(matrix.diagonal())) / 2, sent)
    size = bound["consensus_step_size"]
    return new_state._replace(local_params=stacked.subtract(new_state.local_params, stacked.scale(size, missing))), info


def _decode_nothing(key: Array, code: PyTree, reference: PyTree, *, decode: Callable[..., PyTree]) -> PyTree:
    return jax.tree.map(jnp.zeros_like, decode(key, code, reference))
