"""A graph on workers with a mixing matrix; what it must be, and how to make it of one's own graph or matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import networkx
import numpy as np

from elastic_jax import arguments
from elastic_jax.topologies.weights import WEIGHTS

ROUNDING = 1e-9
"""How far from symmetric and doubly stochastic a mixing matrix may be."""


class Topology(NamedTuple):
    """A connected graph on n workers; `topologies.ring(8)` and its siblings make one."""

    name: str
    """How it was made."""
    mixing_matrix: np.ndarray
    """W: float64[n, n], symmetric, rows and columns sum to 1, ‖W - J‖₂ < 1."""
    adjacency: np.ndarray
    """bool[n, n]: who is a neighbour of whom; symmetric, False on the diagonal."""
    grid: tuple[int, ...] | None = None
    """Sizes of the grid, wrapped around, on which all workers see the same; None is a ring of all."""


def from_networkx(graph: Any, *, weights: str = "metropolis") -> Topology:
    """The topology of an undirected networkx graph.

    Args:
        graph: connected, undirected, no parallel edges, none from a node to itself; its nodes, in their order, are
            workers 0, 1, ... Edge attributes are not read.
        weights: see `from_adjacency`.
    """
    arguments.instance("graph", graph, networkx.Graph, "e.g. networkx.path_graph(4)")
    if graph.is_directed() or graph.is_multigraph():
        kind = type(graph).__name__
        raise ValueError(f"graph = {graph} is a {kind}; it must be undirected without parallel edges")
    if not len(graph):
        raise ValueError(f"graph = {graph} has no nodes; it must have one for each worker")
    looped = list(networkx.nodes_with_selfloops(graph))
    if looped:
        raise ValueError(
            f"graph = {graph} has an edge from {looped[0]!r} to itself, one of {len(looped)}; it must have none: see "
            "graph.remove_edges_from(list(networkx.selfloop_edges(graph)))"
        )
    adjacency = networkx.to_numpy_array(graph, weight=None, dtype=float) > 0
    return from_adjacency(adjacency, weights=weights, name=graph.name or f"from_networkx({len(graph)})")


def from_matrix(matrix: Any, *, name: str = "from_matrix") -> Topology:
    """The topology with this mixing matrix; where it is not zero are the edges.

    Args:
        matrix: float[n, n], symmetric, rows sum to 1, ‖W - J‖₂ < 1; entries may be negative.
        name: kept as it is.
    """
    matrix = arguments.square_matrix("matrix", matrix)
    adjacency = (np.abs(matrix) > ROUNDING) & ~np.eye(len(matrix), dtype=bool)
    return check(Topology(name, matrix, adjacency))


def from_adjacency(
    adjacency: Any,
    *,
    weights: str = "metropolis",
    name: str = "from_adjacency",
    grid: tuple[int, ...] | None = None,
) -> Topology:
    """The topology with these neighbours.

    Args:
        adjacency: bool[n, n], symmetric and False on the diagonal; the graph must be connected.
        weights: for neighbours i, j of degrees d_i, d_j: "metropolis", W_ij = 1 / (1 + max(d_i, d_j)); "max_degree",
            W_ij = 1 / (1 + max_k d_k): both have a positive diagonal, and mixing converges on bipartite graphs too;
            "best_constant", the best one weight for all edges; "fastest", the best of all (needs cvxpy).
        name: kept as it is.
        grid: see `Topology`.

    Raises:
        TypeError, ValueError: naming the argument, its value and what it must be.
    """
    arguments.one_of("weights", weights, WEIGHTS)
    matrix = arguments.array("adjacency", adjacency)
    if matrix.dtype != bool or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"adjacency = {arguments.describe(matrix)}; it must be bool[n, n] with n >= 1")
    if matrix.diagonal().any() or not np.array_equal(matrix, matrix.T):
        raise ValueError(f"adjacency of {name} must be symmetric and False on the diagonal")
    _check_connected(matrix, f"topology = {name}")
    return check(Topology(name, WEIGHTS[weights](matrix), matrix, grid))


def check(topology: Topology | Callable[[int], Topology], *, num_workers: int | None = None) -> Topology:
    """`topology`, if it has `num_workers` workers (None: any), is connected and mixes to the mean.

    Where their number is given, a function such as `topologies.ring` is called with it.

    Raises:
        TypeError, ValueError: saying which of these it is not.
    """
    made: Any = topology(num_workers) if num_workers is not None and callable(topology) else topology
    if not isinstance(made, Topology):
        arguments.instance("topology", topology, Topology, "e.g. topologies.ring(8)")
    return _checked(made, num_workers)


def _checked(topology: Topology, num_workers: int | None) -> Topology:
    """`topology`, if it is what `check` says."""
    matrix, adjacency = np.asarray(topology.mixing_matrix), np.asarray(topology.adjacency)
    what = f"topology = {topology.name}"
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape != adjacency.shape:
        raise ValueError(
            f"{what} has a mixing matrix of shape {matrix.shape} and an adjacency of shape "
            f"{adjacency.shape}; both must be [n, n]"
        )
    if num_workers is not None and matrix.shape[0] != num_workers:
        raise ValueError(f"{what} has {matrix.shape[0]} workers; it must have num_workers = {num_workers}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{what} has a mixing matrix with an entry {matrix.min()}; all must be finite")
    if np.abs(matrix - matrix.T).max() > ROUNDING:
        raise ValueError(f"{what} has a mixing matrix that is not symmetric")
    sums = matrix.sum(axis=1)
    if np.abs(sums - 1).max() > ROUNDING:
        worst = int(np.argmax(np.abs(sums - 1)))
        raise ValueError(
            f"{what} has a mixing matrix whose row {worst} sums to {sums[worst]}; it must be doubly "
            "stochastic: all rows and columns sum to 1"
        )
    outside = (np.abs(matrix) > ROUNDING) & ~adjacency & ~np.eye(len(matrix), dtype=bool)
    if outside.any():
        i, j = np.argwhere(outside)[0]
        raise ValueError(f"{what} mixes workers {i} and {j}, which are not neighbours")
    _check_connected(adjacency, what)
    deviation = norm_of_deviations(matrix)
    if deviation > 1 - ROUNDING:
        raise ValueError(f"{what} has ‖W - J‖₂ = {deviation:.6g}; it must be below 1{_why_not(matrix, adjacency)}")
    return topology


def num_workers(topology: Topology) -> int:
    """How many workers it has: n."""
    return len(topology.mixing_matrix)


def degrees(topology: Topology) -> np.ndarray:
    """int[n]: how many neighbours each worker has."""
    return np.asarray(topology.adjacency).sum(axis=1)


def neighbours(topology: Topology) -> list[list[int]]:
    """The neighbours of every worker, in ascending order."""
    return [np.flatnonzero(row).tolist() for row in topology.adjacency]


def edges(topology: Topology) -> np.ndarray:
    """int32[m, 2]: every edge once, smaller worker first, in lexicographic order."""
    return np.argwhere(np.triu(topology.adjacency)).astype(np.int32)


def norm_of_deviations(matrix: np.ndarray) -> float:
    """‖W - J‖₂ of any matrix [n, n]."""
    return float(np.linalg.norm(matrix - 1.0 / len(matrix), 2))


def _check_connected(adjacency: np.ndarray, what: str) -> None:
    parts = networkx.number_connected_components(networkx.from_numpy_array(adjacency.astype(int)))
    if parts != 1:
        raise ValueError(f"{what} falls into {parts} parts; it must be connected")


def _why_not(matrix: np.ndarray, adjacency: np.ndarray) -> str:
    """Why a connected graph does not mix."""
    if networkx.is_bipartite(networkx.from_numpy_array(adjacency.astype(int))) and not matrix.diagonal().any():
        return (
            ": the graph is bipartite and nobody keeps anything, so that the two halves swap their means for ever; "
            "give every worker a weight of its own, e.g. (I + W)/2"
        )
    return ": an eigenvalue other than that of the mean is not inside (-1, 1)"
