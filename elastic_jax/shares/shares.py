"""What shares are, and what their matrices must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import networkx
import numpy as np
from jax import Array

from elastic_jax import arguments

PyTree = Any
ROUNDING = 1e-9
"""How far from 1 the sum of a column may be."""


class Shares(NamedTuple):
    """Who pushes what to whom; `shares.directed_ring(8)` and its siblings make one."""

    push: Callable[[Array, Array, PyTree], tuple[PyTree, PyTree]]
    """`push(key, num_rounds int32[], rows [n, ...]) -> (kept, sent)`, both [n, ...]: row i of `kept` is P_k,ii x^i, of
    `sent` what the others push to i, Σ_{j != i} P_k,ij x^j."""
    matrix: Callable[[Array, Array], Array]
    """`matrix(key, num_rounds int32[]) -> float[n, n]`: P_k, columns sum to 1."""
    num_messages: Callable[[Array, Array], Array]
    """`num_messages(key, num_rounds int32[]) -> int32[n]`: to how many others each pushes; 1 where all are averaged."""
    num_workers: int
    """n."""
    matrices: np.ndarray | None = None
    """float64[c, n, n]: P_0, ..., P_{c-1}, which come in turn; None if they are drawn."""


def check(shares: Shares | Callable[[int], Shares], *, num_workers: int) -> Shares:
    """`shares`, if they are of `num_workers`; a function such as `shares.everybody` is called with their number."""
    made: Any = shares(num_workers) if callable(shares) and not isinstance(shares, Shares) else shares
    if not isinstance(made, Shares):
        arguments.instance("shares", shares, Shares, "e.g. shares.directed_ring(8)")
    if made.num_workers != num_workers:
        raise ValueError(f"shares = those of {made.num_workers} workers; it must have num_workers = {num_workers}")
    return made


def column_stochastic(name: str, matrix: Any) -> np.ndarray:
    """`matrix` as float64[n, n] >= 0 with columns that sum to 1 and a diagonal above 0."""
    found = arguments.square_matrix(name, matrix)
    if found.min() < 0:
        i, j = (int(place) for place in np.unravel_index(int(found.argmin()), found.shape))
        raise ValueError(f"{name} has the entry {found[i, j]:.6g} at [{i}, {j}]; it must be a share, in [0, 1]")
    sums = found.T.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > ROUNDING:
        raise ValueError(
            f"{name} has a column, number {worst}, that sums to {sums[worst]:.6g}; it must be column-stochastic: "
            "column j holds the shares that worker j sends and keeps, else pushing moves the mean"
        )
    if found.diagonal().min() <= 0:
        lost = int(found.diagonal().argmin())
        raise ValueError(f"{name} has 0 at [{lost}, {lost}]; everybody must keep a share, else a weight can become 0")
    return found


def strongly_connected(name: str, matrices: Sequence[np.ndarray]) -> None:
    """Raise unless over all matrices together everybody reaches everybody."""
    edges = np.any(np.stack(matrices) > 0, axis=0).T
    parts = networkx.number_strongly_connected_components(
        networkx.from_numpy_array(edges, create_using=networkx.DiGraph)
    )
    if parts != 1:
        raise ValueError(
            f"{name} falls into {parts} parts that are not reached from each other; it must be strongly connected: "
            "from everybody to everybody along the pushes"
        )


def num_others(matrix: np.ndarray) -> np.ndarray:
    """int32[n]: to how many others each pushes."""
    is_sent = (matrix != 0) & ~np.eye(len(matrix), dtype=bool)
    return np.count_nonzero(is_sent, axis=0).astype(np.int32)
