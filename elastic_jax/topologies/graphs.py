"""The graphs that people use."""

from __future__ import annotations

import networkx
import numpy as np

from elastic_jax import arguments
from elastic_jax.topologies.topology import Topology, from_adjacency

MOST_DRAWS = 100
"""How many random graphs are drawn until one is connected."""


def complete(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Everybody is everybody's neighbour; whatever the weights, W = J."""
    n = arguments.integer("num_workers", num_workers, low=1)
    return from_adjacency(~np.eye(n, dtype=bool), weights=weights, name=f"complete({n})", grid=(n,))


def ring(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Worker i with i - 1 and i + 1 modulo n. From n = 3 on W has 1/3 three times in a row."""
    n = arguments.integer("num_workers", num_workers, low=1)
    return from_adjacency(_circulant(n, [1]), weights=weights, name=f"ring({n})", grid=(n,))


def torus(num_rows: int, num_columns: int, *, weights: str = "metropolis") -> Topology:
    """A grid that wraps around; worker r · num_columns + c is at row r and column c."""
    rows = arguments.integer("num_rows", num_rows, low=1)
    columns = arguments.integer("num_columns", num_columns, low=1)
    down, right = _circulant(rows, [1]), _circulant(columns, [1])
    adjacency = np.kron(down, np.eye(columns, dtype=bool)) | np.kron(np.eye(rows, dtype=bool), right)
    return from_adjacency(adjacency, weights=weights, name=f"torus({rows}, {columns})", grid=(rows, columns))


def hypercube(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Workers whose numbers differ in one binary digit; `num_workers` is a power of two."""
    n = arguments.integer("num_workers", num_workers, low=1)
    if n & (n - 1):
        raise ValueError(f"num_workers = {n} is no power of two; a hypercube must have 1, 2, 4, 8, ... workers")
    here = np.arange(n)
    adjacency = np.bitwise_count(here[:, None] ^ here[None, :]) == 1
    return from_adjacency(adjacency, weights=weights, name=f"hypercube({n})", grid=(2,) * (n.bit_length() - 1) or (1,))


def exponential(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Worker i with i ± 1, i ± 2, i ± 4, ... modulo n: 2 log₂ n neighbours and a gap that shrinks as 1 / log n only."""
    n = arguments.integer("num_workers", num_workers, low=1)
    powers = [2**power for power in range(max(1, (n - 1).bit_length()))]
    return from_adjacency(_circulant(n, powers), weights=weights, name=f"exponential({n})", grid=(n,))


def star(num_workers: int, *, weights: str = "metropolis") -> Topology:
    """Worker 0 in the middle, with all others its neighbours and nobody else's."""
    n = arguments.integer("num_workers", num_workers, low=1)
    adjacency = np.zeros((n, n), bool)
    adjacency[0, 1:] = adjacency[1:, 0] = True
    return from_adjacency(adjacency, weights=weights, name=f"star({n})")


def erdos_renyi(num_workers: int, rate: float, *, seed: int = 0, weights: str = "metropolis") -> Topology:
    """Every pair of workers is an edge with probability `rate`; drawn until the graph is connected.

    Args:
        num_workers: n >= 1.
        rate: in [0, 1].
        seed: >= 0; the same seed makes the same graph.
        weights: see `from_adjacency`.

    Raises:
        ValueError: also if none of 100 graphs is connected.
    """
    n = arguments.integer("num_workers", num_workers, low=1)
    rate = arguments.real("rate", rate, low=0.0, high=1.0)
    seed = arguments.integer("seed", seed, low=0)
    generator = np.random.default_rng(seed)
    for _ in range(MOST_DRAWS):
        upper = np.triu(generator.random((n, n)) < rate, 1)
        adjacency = upper | upper.T
        if networkx.is_connected(networkx.from_numpy_array(adjacency.astype(int))):
            return from_adjacency(adjacency, weights=weights, name=f"erdos_renyi({n}, {rate:g}, seed={seed})")
    raise ValueError(
        f"rate = {rate} is too small: none of {MOST_DRAWS} graphs on {n} workers is connected; most are from "
        f"{np.log(max(n, 2)) / n:.3g} on"
    )


def _circulant(num_workers: int, distances: list[int]) -> np.ndarray:
    """bool[n, n]: workers at one of the distances, around a ring."""
    adjacency = np.zeros((num_workers, num_workers), bool)
    here = np.arange(num_workers)
    for distance in distances:
        there = (here + distance) % num_workers
        adjacency[here, there] = adjacency[there, here] = True
    np.fill_diagonal(adjacency, False)
    return adjacency
