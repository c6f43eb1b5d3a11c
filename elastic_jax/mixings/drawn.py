"""Mixings that are drawn anew each time: pairs, matchings, a sample of the workers."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments, stacked, topologies
from elastic_jax.mixings.colouring import edge_colours
from elastic_jax.mixings.mixing import Mixing, lost_energy
from elastic_jax.topologies.exchange import by_product

PyTree = Any


def pairs(topology: topologies.Topology) -> Mixing:
    """One edge, uniform over all of them, averages its two workers: p = λ₂ / (2 m), λ₂ of the Laplacian, m edges.

    Source: Boyd, Ghosh, Prabhakar, Shah, Randomized Gossip Algorithms, IEEE Transactions on Information Theory 2006.
    """
    topologies.check(topology)
    n = topologies.num_workers(topology)
    return _one_of(_partners([[(int(i), int(j))] for i, j in topologies.edges(topology)], n))


def matchings(topology: topologies.Topology) -> Mixing:
    """One matching, uniform over those that the edges are split into, averages its pairs.

    The edges are split by colours into matchings, as few as the largest degree or one more; those of a complete graph
    of even n are n - 1 perfect ones, and a draw is a uniform perfect matching for every single worker.
    """
    return _one_of(partners(topology))


def partners(topology: topologies.Topology) -> np.ndarray:
    """int32[c, n]: whom each worker meets in each of c matchings that the edges are split into; itself if nobody."""
    topologies.check(topology)
    return _partners(edge_colours(topology.adjacency), topologies.num_workers(topology))


def sampled(num_workers: int, num_sampled: int) -> Mixing:
    """A sample of c workers, uniform over all of them, is replaced by its mean; the others keep what they have.

    p = (c - 1) / (n - 1), exactly: E‖W X - X̄‖² = ((n - c) / (n - 1)) ‖X - X̄‖². The mean of all stays.

    Args:
        num_workers: n >= 1.
        num_sampled: c in [1, n].
    """
    n = arguments.integer("num_workers", num_workers, low=1)
    c = arguments.integer("num_sampled", num_sampled, low=1, high=n)
    draw = partial(draw_sample, num_workers=n, num_sampled=c)
    return Mixing(
        partial(_mix_sample, draw=draw, num_sampled=c),
        partial(_sample_matrix, draw=draw, num_sampled=c),
        partial(_sample_messages, draw=draw),
        n,
        (c - 1) / (n - 1) if n > 1 else 1.0,
    )


def _partners(found: list[list[tuple[int, int]]], num_workers: int) -> np.ndarray:
    """int32[c, n] of matchings, each a list of pairs; without any, one in which all rest."""
    table = np.tile(np.arange(num_workers, dtype=np.int32), (max(1, len(found)), 1))
    for row, matching in zip(table, found, strict=False):
        for i, j in matching:
            row[i], row[j] = j, i
    return table


def _one_of(table: np.ndarray) -> Mixing:
    """Uniform over matchings int32[c, n]."""
    num_workers = table.shape[1]
    # W = (I + P)/2 is a projection, so that E[WᵀW] = E[W]
    mean = np.eye(num_workers) / 2
    for row in table:
        mean += np.eye(num_workers)[row] / (2 * len(table))
    return Mixing(
        partial(_mix_pairs, partners=table),
        partial(_pairs_matrix, partners=table),
        partial(_pairs_messages, partners=table),
        num_workers,
        1.0 - lost_energy(mean),
    )


def _draw_partners(key: Array, num_mixings: Array, partners: np.ndarray) -> Array:
    """int32[n]: with whom each averages, itself if with nobody."""
    del num_mixings
    return jnp.asarray(partners)[jax.random.randint(key, (), 0, len(partners), jnp.int32)]


def _mix_pairs(key: Array, num_mixings: Array, rows: PyTree, *, partners: np.ndarray) -> PyTree:
    matrix = _pairs_matrix(key, num_mixings, partners=partners)
    return jax.tree.map(lambda leaf: by_product(leaf, matrix.astype(leaf.dtype)), rows)


def _pairs_matrix(key: Array, num_mixings: Array, *, partners: np.ndarray) -> Array:
    drawn = _draw_partners(key, num_mixings, partners)
    own = jnp.eye(partners.shape[1])
    return (own + own[drawn]) / 2


def _pairs_messages(key: Array, num_mixings: Array, *, partners: np.ndarray) -> Array:
    drawn = _draw_partners(key, num_mixings, partners)
    return (drawn != jnp.arange(partners.shape[1], dtype=jnp.int32)).astype(jnp.int32)


def draw_sample(key: Array, *, num_workers: int, num_sampled: int) -> Array:
    """bool[n], c of them True, uniform over all such."""
    return jax.random.permutation(key, jnp.arange(num_workers, dtype=jnp.int32)) < num_sampled


def _mix_sample(key: Array, num_mixings: Array, rows: PyTree, *, draw: Any, num_sampled: int) -> PyTree:
    del num_mixings
    is_sampled = draw(key)
    mean = stacked.weighted_sum(jnp.where(is_sampled, 1.0 / num_sampled, 0.0), rows)
    return stacked.where_rows(is_sampled, stacked.broadcast(mean, is_sampled.shape[0]), rows)


def _sample_matrix(key: Array, num_mixings: Array, *, draw: Any, num_sampled: int) -> Array:
    del num_mixings
    is_sampled = draw(key)
    both = is_sampled[:, None] & is_sampled[None, :]
    return jnp.where(is_sampled[:, None], jnp.where(both, 1.0 / num_sampled, 0.0), jnp.eye(is_sampled.shape[0]))


def _sample_messages(key: Array, num_mixings: Array, *, draw: Any) -> Array:
    del num_mixings
    return draw(key).astype(jnp.int32)
