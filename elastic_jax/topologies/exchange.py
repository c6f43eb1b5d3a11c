"""W X on stacked parameters: between neighbours where the graph is a grid that wraps around, else as a product."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax.topologies.topology import Topology

PyTree = Any
FEW = 5
"""Neighbours, the worker itself included, up to which rows are rolled whatever their number: those of a torus."""


def mix(topology: Topology, rows: PyTree) -> PyTree:
    """W X, leaf by leaf: [n, ...] -> [n, ...].

    Where W is the same seen from every worker of a grid (rings, tori) and has few non-zeros in a row, it is applied by
    rolls: they cost O(n d) and stay between neighbours when the workers are spread over devices. Every other W is
    applied by a matrix product in full precision.
    """
    return product_or_rolls(np.asarray(topology.mixing_matrix), topology.grid, rows)


def product_or_rolls(matrix: np.ndarray, grid: tuple[int, ...] | None, rows: PyTree) -> PyTree:
    """`mix` of any matrix [n, n], not only a symmetric one."""
    grid = grid or (len(matrix),)
    shifts = _shifts(matrix, grid)
    if shifts is not None:
        return jax.tree.map(lambda leaf: _by_rolls(leaf, matrix[0], shifts, grid), rows)
    return jax.tree.map(lambda leaf: by_product(leaf, jnp.asarray(matrix, leaf.dtype)), rows)


def by_product(leaf: Array, matrix: Array) -> Array:
    """One leaf [n, ...] mixed by any matrix [n, n]."""
    return jnp.tensordot(matrix, leaf, 1, precision=lax.Precision.HIGHEST)


def _shifts(matrix: np.ndarray, grid: tuple[int, ...]) -> list[int] | None:
    """The columns of the non-zeros of row 0, if they are few and all rows are its shifts around the grid."""
    shifts = np.flatnonzero(matrix[0]).tolist()
    n = len(matrix)
    if math.prod(grid) != n or len(shifts) > max(FEW, n // 16):
        return None
    here = np.stack(np.unravel_index(np.arange(n), grid))
    for shift in range(n):
        offset = here[:, shift]
        moved = np.ravel_multi_index(tuple((here + offset[:, None]) % np.array(grid)[:, None]), grid)
        if not np.array_equal(matrix[shift][moved], matrix[0]):
            return None
    return shifts


def _by_rolls(leaf: Array, first_row: np.ndarray, shifts: list[int], grid: tuple[int, ...]) -> Array:
    on_grid = leaf.reshape(*grid, *leaf.shape[1:])
    axes = tuple(range(len(grid)))
    total = None
    for shift in shifts:
        offsets = tuple(-int(step) for step in np.unravel_index(shift, grid))
        term = jnp.asarray(first_row[shift], leaf.dtype) * jnp.roll(on_grid, offsets, axes)
        total = term if total is None else total + term
    assert total is not None
    return total.reshape(leaf.shape)
