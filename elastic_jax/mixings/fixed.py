"""Mixings without coins: one matrix, or several in turn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import arguments, stacked, topologies
from elastic_jax.mixings.mixing import Mixing, doubly_stochastic, lost_energy, num_others
from elastic_jax.topologies.exchange import product_or_rolls

PyTree = Any


def constant(topology: topologies.Topology) -> Mixing:
    """The mixing matrix of a topology, every time; p = 1 - ζ²."""
    topologies.check(topology)
    matrix = topology.mixing_matrix
    return Mixing(
        partial(_mix_constant, matrix=matrix, grid=topology.grid),
        partial(_constant_matrix, matrix=matrix),
        partial(_constant_messages, counts=num_others(matrix)),
        len(matrix),
        topologies.mixing_rate(topology),
        constant_matrix=matrix,
    )


def around_ring(num_workers: int) -> Mixing:
    """The two neighbours on a ring and the worker itself, 1/3 each: `constant(topologies.ring(n))`."""
    return constant(topologies.ring(num_workers))


def average(num_workers: int) -> Mixing:
    """W = J: all get the mean of all, as an all-reduce does; p = 1. Each sends one message."""
    n = arguments.integer("num_workers", num_workers, low=1)
    matrix = np.full((n, n), 1.0 / n)
    counts = np.full(n, min(1, n - 1), np.int32)
    return Mixing(
        _mix_average,
        partial(_constant_matrix, matrix=matrix),
        partial(_constant_messages, counts=counts),
        n,
        1.0,
        constant_matrix=matrix,
    )


def elastic(num_workers: int, elasticity: float | None = None) -> Mixing:
    """Every worker is drawn to an anchor, the last row, and the anchor to all of them.

        x^i = (1 - a) x^i + a z,    z = (1 - n a) z + a Σ_i x^i          both of the old x and z

    ζ = max(|1 - a|, |1 - (n + 1) a|), least at a = 2 / (n + 2): n / (n + 2).

    Args:
        num_workers: n >= 1; the mixing has n + 1 rows.
        elasticity: a, 0 < a < 2 / (n + 1); default 2 / (n + 2).

    Source: Zhang, Choromanska, LeCun, Deep Learning with Elastic Averaging SGD, NeurIPS 2015, arXiv 1412.6651; the
    spectrum and the best a are those of Cooperative SGD, arXiv 1808.07576.
    """
    n = arguments.integer("num_workers", num_workers, low=1)
    a = stable_elasticity(elasticity, num_workers=n)
    matrix = np.diag(np.full(n + 1, 1.0 - a))
    matrix[n, :n] = matrix[:n, n] = a
    matrix[n, n] = 1.0 - n * a
    zeta = max(abs(1 - a), abs(1 - (n + 1) * a)) if n > 1 else abs(1 - 2 * a)
    return Mixing(
        partial(_mix_elastic, elasticity=a),
        partial(_constant_matrix, matrix=matrix),
        partial(_constant_messages, counts=num_others(matrix)),
        n + 1,
        1.0 - zeta**2,
        constant_matrix=matrix,
    )


def stable_elasticity(elasticity: float | None, *, num_workers: int) -> float:
    """A pull between workers and anchor that brings them together: 0 < a < 2 / (n + 1), or 2 / (n + 2) for None."""
    if elasticity is None:
        return 2.0 / (num_workers + 2)
    return arguments.real("elasticity", elasticity, above=0.0, below=2.0 / (num_workers + 1))


def cycle(matrices: Sequence[Any]) -> Mixing:
    """Matrices in turn, starting again after the last; over a whole cycle rows come together by p.

    Args:
        matrices: [c, r, r], each doubly stochastic; they need not be symmetric.
    """
    if not isinstance(matrices, Sequence | np.ndarray) or isinstance(matrices, str) or not len(matrices):
        raise ValueError(f"matrices = {arguments.describe(matrices)}; it must be a sequence of at least one [r, r]")
    found = [doubly_stochastic(f"matrices[{number}]", matrix) for number, matrix in enumerate(matrices)]
    if len({matrix.shape for matrix in found}) > 1:
        raise ValueError(
            f"matrices = {len(found)} of shapes {[matrix.shape for matrix in found]}; all must have the same"
        )
    table = np.stack(found)
    # whatever the step of the cycle in which a block begins
    products = [reduce(lambda done, matrix: matrix @ done, np.roll(table, -first, 0)) for first in range(len(table))]
    return Mixing(
        partial(_mix_cycle, matrices=table),
        partial(_cycle_matrix, matrices=table),
        partial(_cycle_messages, counts=np.stack([num_others(matrix) for matrix in table])),
        table.shape[1],
        1.0 - max(lost_energy(product.T @ product) for product in products),
        block=len(table),
        constant_matrix=table[0] if len(table) == 1 else None,
    )


def exponential(num_workers: int) -> Mixing:
    """The directed exponential graph: worker i takes the mean of itself and of i + 1, i + 2, i + 4, ... modulo n.

    Source: Ying, Yuan, Chen, Hu, Pan, Yin, Exponential Graph is Provably Efficient for Decentralized Deep Training,
    NeurIPS 2021, arXiv 2110.13363.
    """
    n = arguments.integer("num_workers", num_workers, low=1)
    powers = _powers(n)
    return cycle([(np.eye(n) + sum(_shift(n, power) for power in powers)) / (1 + len(powers))])


def one_peer_exponential(num_workers: int) -> Mixing:
    """In turn with i + 1, i + 2, i + 4, ... modulo n, half and half: with n a power of two, J after log₂ n mixings.

    Source: as `exponential`.
    """
    n = arguments.integer("num_workers", num_workers, low=1)
    return cycle([(np.eye(n) + _shift(n, power)) / 2 for power in _powers(n)] or [np.eye(n)])


def hierarchical(num_groups: int, group_size: int, *, every: int) -> Mixing:
    """Groups average among themselves, and in every `every`-th mixing all workers do.

    Args:
        num_groups: >= 1; workers of a group follow each other.
        group_size: >= 1.
        every: >= 1, mixings.

    Source: the hierarchical averaging of Cooperative SGD, arXiv 1808.07576, without auxiliary rows.
    """
    groups = arguments.integer("num_groups", num_groups, low=1)
    size = arguments.integer("group_size", group_size, low=1)
    every = arguments.integer("every", every, low=1)
    within = np.kron(np.eye(groups), np.full((size, size), 1.0 / size))
    n = groups * size
    return cycle([within] * (every - 1) + [np.full((n, n), 1.0 / n)])


def _powers(num_workers: int) -> list[int]:
    return [2**power for power in range((num_workers - 1).bit_length())]


def _shift(num_workers: int, distance: int) -> np.ndarray:
    """Row i takes row i + distance."""
    return np.roll(np.eye(num_workers), distance, axis=1)


def _mix_constant(key: Array, num_mixings: Array, rows: PyTree, *, matrix: np.ndarray, grid: Any) -> PyTree:
    del key, num_mixings
    return product_or_rolls(matrix, grid, rows)


def _mix_average(key: Array, num_mixings: Array, rows: PyTree) -> PyTree:
    del key, num_mixings
    return stacked.broadcast(stacked.worker_mean(rows), stacked.num_rows(rows))


def _mix_elastic(key: Array, num_mixings: Array, rows: PyTree, *, elasticity: float) -> PyTree:
    del key, num_mixings
    n = stacked.num_rows(rows) - 1
    anchor = stacked.weighted_sum(jnp.full(n + 1, elasticity).at[n].set(1.0 - n * elasticity), rows)

    def of_leaf(leaf: Array, anchor: Array) -> Array:
        old, a = leaf[n], jnp.asarray(elasticity, leaf.dtype)
        return (leaf + a * (old[None] - leaf)).at[n].set(anchor)

    return jax.tree.map(of_leaf, rows, anchor)


def _mix_cycle(key: Array, num_mixings: Array, rows: PyTree, *, matrices: np.ndarray) -> PyTree:
    del key
    branches = [partial(product_or_rolls, matrix, None) for matrix in matrices]
    return lax.switch(num_mixings % len(matrices), branches, rows) if len(branches) > 1 else branches[0](rows)


def _constant_matrix(key: Array, num_mixings: Array, *, matrix: np.ndarray) -> Array:
    del key, num_mixings
    return jnp.asarray(matrix)


def _cycle_matrix(key: Array, num_mixings: Array, *, matrices: np.ndarray) -> Array:
    del key
    return jnp.asarray(matrices)[num_mixings % len(matrices)]


def _constant_messages(key: Array, num_mixings: Array, *, counts: np.ndarray) -> Array:
    del key, num_mixings
    return jnp.asarray(counts, jnp.int32)


def _cycle_messages(key: Array, num_mixings: Array, *, counts: np.ndarray) -> Array:
    del key
    return jnp.asarray(counts, jnp.int32)[num_mixings % len(counts)]
