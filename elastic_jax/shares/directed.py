"""Shares without coins: one directed graph, or several in turn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from jax import Array, lax

from elastic_jax import arguments, stacked, topologies
from elastic_jax.shares.shares import Shares, column_stochastic, num_others, strongly_connected
from elastic_jax.topologies.exchange import product_or_rolls

PyTree = Any


def cycle(matrices: Sequence[Any]) -> Shares:
    """Matrices in turn, starting again after the last.

    Args:
        matrices: [c, n, n], each column-stochastic with a diagonal above 0; over all of them together everybody must
            reach everybody.
    """
    if not isinstance(matrices, Sequence | np.ndarray) or isinstance(matrices, str) or not len(matrices):
        raise ValueError(f"matrices = {arguments.describe(matrices)}; it must be a sequence of at least one [n, n]")
    found = [column_stochastic(f"matrices[{number}]", matrix) for number, matrix in enumerate(matrices)]
    if len({matrix.shape for matrix in found}) > 1:
        raise ValueError(
            f"matrices = {len(found)} of shapes {[matrix.shape for matrix in found]}; all must have the same"
        )
    strongly_connected(f"matrices = {len(found)} of shape {found[0].shape}", found)
    return _in_turn(np.stack(found))


def from_matrix(matrix: Any) -> Shares:
    """These shares in every round.

    Args:
        matrix: P: float[n, n] >= 0; column j, which sums to 1, holds what worker j sends to the others and keeps.
    """
    found = column_stochastic("matrix", matrix)
    strongly_connected(f"matrix = float64{list(found.shape)}", [found])
    return _in_turn(found[None])


def from_networkx(graph: Any) -> Shares:
    """Equal shares to all to whom a directed networkx graph has an edge, and to oneself.

    Args:
        graph: a networkx.DiGraph, strongly connected; its nodes, in their order, are workers 0, 1, ..., and an edge
            from one to another means that the first pushes to the second. Edge attributes are not read, and an edge
            from a node to itself changes nothing.
    """
    arguments.instance("graph", graph, networkx.Graph, "e.g. networkx.DiGraph([(0, 1), (1, 2), (2, 0)])")
    if not graph.is_directed() or graph.is_multigraph():
        kind = type(graph).__name__
        raise ValueError(
            f"graph = {graph} is a {kind}; it must be directed without parallel edges: see graph.to_directed()"
        )
    if not len(graph):
        raise ValueError(f"graph = {graph} has no nodes; it must have one for each worker")
    adjacency = networkx.to_numpy_array(graph, weight=None, dtype=float) > 0
    matrix = _equal_shares(adjacency)
    strongly_connected(f"graph = {graph}", [matrix])
    return _in_turn(matrix[None])


def of_topology(topology: topologies.Topology) -> Shares:
    """The mixing matrix of an undirected graph, if its weights are shares: then all push weights stay 1."""
    topologies.check(topology)
    return _in_turn(column_stochastic("topology", topology.mixing_matrix)[None])


def directed_ring(num_workers: int) -> Shares:
    """Worker i pushes half to i + 1 modulo n and keeps half."""
    n = arguments.integer("num_workers", num_workers, low=1)
    return _in_turn((np.eye(n) + _to(n, 1))[None] / 2)


def one_peer_exponential(num_workers: int) -> Shares:
    """In turn half to i + 1, i + 2, i + 4, ... modulo n; the mean of all after log₂ n rounds, if n is a power of two.

    Source: Assran, Loizou, Ballas, Rabbat, 2019, arXiv 1811.10792, the directed exponential graph with one peer.
    """
    n = arguments.integer("num_workers", num_workers, low=1)
    distances = [2**power for power in range((n - 1).bit_length())]
    return _in_turn(np.stack([(np.eye(n) + _to(n, distance)) / 2 for distance in distances] or [np.eye(n)]))


def everybody(num_workers: int) -> Shares:
    """P = J: 1/n to everybody, as an all-reduce does. Each sends one message."""
    n = arguments.integer("num_workers", num_workers, low=1)
    matrices = np.full((1, n, n), 1.0 / n)
    counts = np.full((1, n), min(1, n - 1), np.int32)
    return Shares(
        _push_to_everybody,
        partial(_matrix_in_turn, matrices=matrices),
        partial(_messages_in_turn, counts=counts),
        n,
        matrices,
    )


def _in_turn(matrices: np.ndarray) -> Shares:
    return Shares(
        partial(_push_in_turn, matrices=matrices),
        partial(_matrix_in_turn, matrices=matrices),
        partial(_messages_in_turn, counts=np.stack([num_others(matrix) for matrix in matrices])),
        matrices.shape[1],
        matrices,
    )


def _equal_shares(adjacency: np.ndarray) -> np.ndarray:
    """P of bool[n sender, n receiver]."""
    takes = adjacency.T | np.eye(len(adjacency), dtype=bool)
    return takes / takes.T.sum(axis=1)


def _to(num_workers: int, distance: int) -> np.ndarray:
    """Column j has its 1 at j + distance."""
    return np.roll(np.eye(num_workers), distance, axis=0)


def _push_in_turn(key: Array, num_rounds: Array, rows: PyTree, *, matrices: np.ndarray) -> tuple[PyTree, PyTree]:
    del key
    branches = [partial(_push_by, matrix) for matrix in matrices]
    return lax.switch(num_rounds % len(matrices), branches, rows) if len(branches) > 1 else branches[0](rows)


def _push_by(matrix: np.ndarray, rows: PyTree) -> tuple[PyTree, PyTree]:
    own = matrix.diagonal()
    others = matrix - np.diag(own)

    def kept(leaf: Array) -> Array:
        return jnp.asarray(own, leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1)) * leaf

    sent = product_or_rolls(others, None, rows) if others.any() else jax.tree.map(jnp.zeros_like, rows)
    return jax.tree.map(kept, rows), sent


def _push_to_everybody(key: Array, num_rounds: Array, rows: PyTree) -> tuple[PyTree, PyTree]:
    del key, num_rounds
    n = stacked.num_rows(rows)
    kept = stacked.scale(1.0 / n, rows)
    return kept, stacked.subtract(stacked.broadcast(stacked.worker_mean(rows), n), kept)


def _matrix_in_turn(key: Array, num_rounds: Array, *, matrices: np.ndarray) -> Array:
    del key
    return jnp.asarray(matrices)[num_rounds % len(matrices)]


def _messages_in_turn(key: Array, num_rounds: Array, *, counts: np.ndarray) -> Array:
    del key
    return jnp.asarray(counts, jnp.int32)[num_rounds % len(counts)]
