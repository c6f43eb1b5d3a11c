"""Topologies: undirected graphs on workers, their mixing matrices and the spectral constants of both.

    x^i = Σ_j W_ij y^j          one mixing, W symmetric and doubly stochastic

W is zero where two workers are no neighbours. ζ = ‖W - J‖₂, J = 11ᵀ/n, is the factor by which one mixing at
least shrinks the distance to the mean; for a symmetric W it is max(|λ₂|, |λ_n|).

Sources: Xiao, Boyd, Fast Linear Iterations for Distributed Averaging, Systems & Control Letters 2004, for the
weights; Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, for ζ.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from jax import Array, lax

from elastic_jax import arguments

PyTree = Any
WEIGHTS = ("metropolis", "max_degree")
ROUNDING = 1e-9
"""How far from symmetric and doubly stochastic a mixing matrix may be."""


class Topology(NamedTuple):
    """A connected graph on n workers; `topologies.ring(8)` and its siblings make one."""

    name: str
    """How it was made."""
    mixing_matrix: np.ndarray
    """W: float64[n, n], symmetric, non-negative, rows and columns sum to 1."""
    adjacency: np.ndarray
    """bool[n, n]: who is a neighbour of whom; symmetric, False on the diagonal."""


def complete(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Everybody is everybody's neighbour; with either weights W = J."""
    n = arguments.integer("num_workers", num_workers, low=1)
    return from_adjacency(~np.eye(n, dtype=bool), weights=weights, name=f"complete({n})")


def ring(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Worker i with i - 1 and i + 1 modulo n. From n = 3 on W has 1/3 three times in a row."""
    n = arguments.integer("num_workers", num_workers, low=1)
    adjacency = np.zeros((n, n), bool)
    here = np.arange(n)
    adjacency[here, (here + 1) % n] = adjacency[(here + 1) % n, here] = True
    np.fill_diagonal(adjacency, False)
    return from_adjacency(adjacency, weights=weights, name=f"ring({n})")


def torus(num_rows: int, num_columns: int, *, weights: str = "metropolis") -> Topology:
    """A grid that wraps around; worker r · num_columns + c is at row r and column c."""
    rows = arguments.integer("num_rows", num_rows, low=1)
    columns = arguments.integer("num_columns", num_columns, low=1)
    down, right = ring(rows).adjacency, ring(columns).adjacency
    adjacency = np.kron(down, np.eye(columns, dtype=bool)) | np.kron(np.eye(rows, dtype=bool), right)
    return from_adjacency(adjacency, weights=weights, name=f"torus({rows}, {columns})")


def hypercube(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Workers whose numbers differ in one binary digit; `num_workers` is a power of two."""
    n = arguments.integer("num_workers", num_workers, low=1)
    if n & (n - 1):
        raise ValueError(f"num_workers = {n} is no power of two; a hypercube must have 1, 2, 4, 8, ... workers")
    here = np.arange(n)
    difference = here[:, None] ^ here[None, :]
    return from_adjacency(np.bitwise_count(difference) == 1, weights=weights, name=f"hypercube({n})")


def star(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Worker 0 in the middle, with all others its neighbours and nobody else's."""
    n = arguments.integer("num_workers", num_workers, low=1)
    adjacency = np.zeros((n, n), bool)
    adjacency[0, 1:] = adjacency[1:, 0] = True
    return from_adjacency(adjacency, weights=weights, name=f"star({n})")


def from_networkx(graph: Any, *, weights: str = "metropolis") -> Topology:
    """The topology of an undirected networkx graph.

    Args:
        graph: connected, undirected, no parallel edges; its nodes, in their order, are workers 0, 1, ... Edge
            attributes are not read, and an edge from a node to itself changes nothing.
        weights: "metropolis" or "max_degree", see `from_adjacency`.
    """
    arguments.instance("graph", graph, networkx.Graph, "e.g. networkx.path_graph(4)")
    if graph.is_directed() or graph.is_multigraph():
        kind = type(graph).__name__
        raise ValueError(f"graph = {graph} is a {kind}; it must be undirected without parallel edges")
    if not len(graph):
        raise ValueError(f"graph = {graph} has no nodes; it must have one for each worker")
    adjacency = networkx.to_numpy_array(graph, weight=None, dtype=float) > 0
    np.fill_diagonal(adjacency, False)
    return from_adjacency(adjacency, weights=weights, name=graph.name or f"from_networkx({len(graph)})")


def from_adjacency(adjacency: Any, *, weights: str = "metropolis", name: str = "from_adjacency") -> Topology:
    """The topology with these neighbours.

    Args:
        adjacency: bool[n, n], symmetric and False on the diagonal; the graph must be connected.
        weights: for neighbours i, j of degrees d_i, d_j: "metropolis", W_ij = 1 / (1 + max(d_i, d_j)); or
            "max_degree", W_ij = 1 / (1 + max_k d_k). What is missing to 1 stays on the diagonal, which is
            positive: λ_n > -1, and mixing converges on bipartite graphs too.
        name: kept as it is.

    Raises:
        TypeError, ValueError: naming the argument, its value and what it must be.
    """
    arguments.one_of("weights", weights, WEIGHTS)
    matrix = np.asarray(adjacency)
    if matrix.dtype != bool or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"adjacency has shape {matrix.shape} and dtype {matrix.dtype}; it must be bool[n, n] with n >= 1"
        )
    if matrix.diagonal().any() or not np.array_equal(matrix, matrix.T):
        raise ValueError(f"adjacency of {name} must be symmetric and False on the diagonal")
    degrees = matrix.sum(axis=1)
    largest = np.maximum(degrees[:, None], degrees[None, :]) if weights == "metropolis" else degrees.max()
    mixing_matrix = np.where(matrix, 1.0 / (1.0 + largest), 0.0)
    # summed apart from the diagonal and then completed, so that every row sums to 1 to the last bit it can
    np.fill_diagonal(mixing_matrix, 1.0 - mixing_matrix.sum(axis=1))
    return check(Topology(name, mixing_matrix, matrix))


def check(topology: Topology, *, num_workers: int | None = None) -> Topology:
    """`topology`, if it has `num_workers` workers (None: any), is connected and mixes to the mean.

    Raises:
        TypeError, ValueError: saying which of these it is not.
    """
    arguments.instance("topology", topology, Topology, "e.g. topologies.ring(8)")
    matrix, adjacency = np.asarray(topology.mixing_matrix), np.asarray(topology.adjacency)
    what = f"topology = {topology.name}"
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape != adjacency.shape:
        raise ValueError(
            f"{what} has a mixing matrix of shape {matrix.shape} and an adjacency of shape "
            f"{adjacency.shape}; both must be [n, n]"
        )
    if num_workers is not None and matrix.shape[0] != num_workers:
        raise ValueError(f"{what} has {matrix.shape[0]} workers; it must have num_workers = {num_workers}")
    if not np.isfinite(matrix).all() or matrix.min() < -ROUNDING:
        raise ValueError(f"{what} has a mixing matrix with an entry {matrix.min()}; all must be finite and >= 0")
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
    parts = networkx.number_connected_components(networkx.from_numpy_array(adjacency.astype(int)))
    if parts != 1:
        raise ValueError(f"{what} falls into {parts} parts; it must be connected")
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


def zeta(topology: Topology) -> float:
    """ζ = ‖W - J‖₂ in [0, 1): ‖W X - X̄‖ <= ζ ‖X - X̄‖."""
    n = num_workers(topology)
    return float(np.linalg.norm(topology.mixing_matrix - np.full((n, n), 1.0 / n), 2))


def spectral_gap(topology: Topology) -> float:
    """1 - max(|λ₂|, |λ_n|) of W, in (0, 1]; 1 with one worker."""
    eigenvalues = np.linalg.eigvalsh(topology.mixing_matrix)[::-1]
    return float(1.0 - np.abs(eigenvalues[1:]).max(initial=0.0))


def laplacian_lambda_2(topology: Topology) -> float:
    """λ₂ of the graph's Laplacian D - A, > 0: 2 - 2 cos(2π/n) for a ring; ∞ for n = 1."""
    if num_workers(topology) == 1:
        return float("inf")
    return float(np.linalg.eigvalsh(np.diag(degrees(topology)) - topology.adjacency.astype(float))[1])


def mix(topology: Topology, rows: PyTree) -> PyTree:
    """W X, leaf by leaf: [n, ...] -> [n, ...].

    A circulant W with at most three non-zeros in a row is applied by rolls, which stay between neighbours
    when the workers are spread over devices; every other one by a matrix product in full precision.
    """
    matrix = np.asarray(topology.mixing_matrix)
    shifts = _circulant_shifts(matrix)
    if shifts is not None:
        return jax.tree.map(lambda leaf: _mix_by_rolls(leaf, matrix[0], shifts), rows)
    return jax.tree.map(lambda leaf: _mix_by_product(leaf, matrix), rows)


def _circulant_shifts(matrix: np.ndarray) -> list[int] | None:
    """The columns of the non-zeros of row 0, if they are at most three and all rows are its rotations."""
    shifts = np.flatnonzero(matrix[0]).tolist()
    is_circulant = all(np.array_equal(row, np.roll(matrix[0], i)) for i, row in enumerate(matrix))
    return shifts if is_circulant and len(shifts) <= 3 else None


def _mix_by_rolls(leaf: Array, first_row: np.ndarray, shifts: list[int]) -> Array:
    terms = [jnp.asarray(first_row[shift], leaf.dtype) * jnp.roll(leaf, -shift, axis=0) for shift in shifts]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _mix_by_product(leaf: Array, matrix: np.ndarray) -> Array:
    return jnp.tensordot(jnp.asarray(matrix, leaf.dtype), leaf, 1, precision=lax.Precision.HIGHEST)
