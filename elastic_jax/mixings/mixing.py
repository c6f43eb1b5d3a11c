"""What a mixing is, and what its matrices must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from elastic_jax import arguments

PyTree = Any
ROUNDING = 1e-9
"""How far from doubly stochastic a matrix may be."""


class Mixing(NamedTuple):
    """A mixing; `mixings.constant(topologies.ring(8))` and its siblings make one."""

    mix: Callable[[Array, Array, PyTree], PyTree]
    """`mix(key, num_mixings int32[], rows [r, ...]) -> [r, ...]`: W_k X."""
    matrix: Callable[[Array, Array], Array]
    """`matrix(key, num_mixings int32[]) -> float[r, r]`: W_k, doubly stochastic."""
    num_messages: Callable[[Array, Array], Array]
    """`num_messages(key, num_mixings int32[]) -> int32[r]`: to how many others each row is sent; 1 where all are
    averaged at once."""
    num_rows: int
    """r: workers and auxiliary rows."""
    contraction: float
    """p in [0, 1], over every `block` mixings in turn."""
    block: int = 1
    """b: mixings over which rows come together by p."""
    constant_matrix: np.ndarray | None = None
    """W: float64[r, r], if it is the same in every mixing."""


def check(mixing: Mixing | Callable[[int], Mixing], *, num_rows: int) -> Mixing:
    """`mixing`, if it has `num_rows` rows; a function such as `mixings.average` is called with their number."""
    made: Any = mixing(num_rows) if callable(mixing) and not isinstance(mixing, Mixing) else mixing
    if not isinstance(made, Mixing):
        arguments.instance("mixing", mixing, Mixing, "e.g. mixings.constant(topologies.ring(8))")
    if made.num_rows != num_rows:
        raise ValueError(
            f"mixing = one of {made.num_rows} rows; it must have {num_rows}: the workers and the auxiliary rows"
        )
    return made


def doubly_stochastic(name: str, matrix: Any) -> np.ndarray:
    """`matrix` as float64[r, r] with rows and columns that sum to 1; it need be neither positive nor symmetric."""
    found = arguments.square_matrix(name, matrix)
    for which, axis in (("row", 1), ("column", 0)):
        sums = found.sum(axis=axis)
        worst = int(np.argmax(np.abs(sums - 1)))
        if abs(sums[worst] - 1) > ROUNDING:
            raise ValueError(
                f"{name} has a {which}, number {worst}, that sums to {sums[worst]:.6g}; it must be doubly stochastic: "
                "all rows and columns sum to 1, else mixing moves the mean"
            )
    return found


def lost_energy(mean_square: np.ndarray) -> float:
    """1 - p of E[WᵀW], the largest share of ‖X - X̄‖² that stays."""
    away = mean_square - 1.0 / len(mean_square)
    return float(np.clip(np.linalg.eigvalsh((away + away.T) / 2)[-1], 0.0, None))


def num_others(matrix: np.ndarray) -> np.ndarray:
    """int32[r]: to how many others each row is sent, who has it in theirs."""
    is_sent = (matrix != 0) & ~np.eye(len(matrix), dtype=bool)
    return np.count_nonzero(is_sent, axis=0).astype(np.int32)
