"""Exchanges: two workers who meet send each other parameters, whole or quantised, and keep track of how far they are.

    r^i = Q(m^j; y^i)       what i receives of j's message m^j, decoded near its own parameters y^i

Without a quantiser r^i = m^j. One that decodes with the receiver's parameters must know how far the two are apart at
most. Where that is not given, each worker keeps a running distance d^i, and those who meet use c max(d^i, d^j):

    d^i <- d^i + 2 ‖u^i‖                        in a step of its own: the other may have moved as far
    d^i <- max(‖r^i - y^i‖, d^i / 2)            when it has met

in the norm of the quantiser, with its margin c. Source: Davies, Gurunathan, Moshrefi, Ashkboos, Alistarh, New Bounds
for Distributed Mean Estimation and Variance Reduction, ICLR 2021, arXiv 2002.09268, §9, takes c times the largest
distance of the round before. Departure: each worker has its own, and what it has moved since counts.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import stacked
from elastic_jax.base import Params, PyTree
from elastic_jax.compressors import Compressor


class Received(NamedTuple):
    """What came of an exchange of k workers."""

    rows: PyTree
    """[k, ...]. r^i; y^i for who rests."""
    distances: PyTree
    """float32[k]. d^i, the running distances after it; () where none are kept."""
    num_failures: Array
    """int32[k]. 1 where a message was decoded into something else than was sent."""


def swap(rows: PyTree, partners: Array) -> PyTree:
    """Each one's row to its partner: [k, ...] and int32[k] -> [k, ...]."""
    if partners.shape[0] == 2:
        return jax.tree.map(lambda leaf: leaf[::-1], rows)
    return jax.tree.map(lambda leaf: jnp.take(leaf, partners, axis=0, mode="fill"), rows)


def exchange(
    keys: Array,
    messages: PyTree,
    references: PyTree,
    distances: PyTree,
    partners: Array,
    *,
    quantizer: Compressor | None,
) -> Received:
    """Messages [k, ...] to the partners, who decode them near their `references` [k, ...].

    Args:
        keys: key[k], of the senders; who receives has the sender's.
        messages: m^i.
        references: y^i.
        distances: d^i, float32[k], where they are kept.
        partners: int32[k], positions.
        quantizer: Q; None sends everything.
    """
    sent = swap(messages, partners)
    is_met = partners != jnp.arange(partners.shape[0], dtype=jnp.int32)
    received, num_failures = sent, jnp.zeros(partners.shape, jnp.int32)
    if quantizer is not None:
        apart = jnp.maximum(distances, distances[partners]) if has_distances(quantizer) else ()
        received, num_failures = jax.vmap(partial(_decode, quantizer=quantizer))(
            keys[partners], sent, references, apart
        )
    if partners.shape[0] > 2:  # of two nobody rests
        received = stacked.where_rows(is_met, received, references)
    if has_distances(quantizer):
        seen = _norms(quantizer, stacked.subtract(received, references))
        distances = jnp.where(is_met, jnp.maximum(seen, distances / 2), distances)
    return Received(received, distances, jnp.where(is_met, num_failures, 0))


def moved(distances: PyTree, updates: PyTree, *, quantizer: Compressor | None) -> PyTree:
    """d^i + 2 ‖u^i‖, float32[k], after a step with `updates` [k, ...]; () where no distances are kept."""
    return distances + 2 * _norms(quantizer, updates) if has_distances(quantizer) else ()


def has_distances(quantizer: Compressor | None) -> bool:
    """Whether running distances are kept."""
    return quantizer is not None and quantizer.nearness is not None and quantizer.nearness.is_running


def message_bits(quantizer: Compressor | None, params: Params) -> float:
    """Bits of one message."""
    return 8.0 * stacked.num_bytes(params) if quantizer is None else float(quantizer.bits(params))


def _decode(
    key: Array, message: PyTree, reference: PyTree, apart: PyTree, *, quantizer: Compressor
) -> tuple[PyTree, Array]:
    """Q(m; y), and whether it is not what was sent."""
    if quantizer.nearness is not None and quantizer.nearness.is_running:
        quantizer = quantizer.nearness.within(quantizer.nearness.margin * apart)
    decoded = quantizer.decode(key, quantizer.encode(key, message), reference)
    if quantizer.nearness is None:
        return decoded, jnp.zeros((), jnp.int32)
    return decoded, (quantizer.nearness.num_failures(key, message, decoded) > 0).astype(jnp.int32)


def _norms(quantizer: Compressor | None, rows: PyTree) -> Array:
    """float32[k], in the norm of the quantiser."""
    assert quantizer is not None
    assert quantizer.nearness is not None
    return jax.vmap(quantizer.nearness.norm)(rows).astype(jnp.float32)
