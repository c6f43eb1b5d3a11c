"""MATCHA: matchings of a graph that are activated independently, those that matter most more often."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import optimize

from elastic_jax import arguments, topologies
from elastic_jax.mixings.colouring import edge_colours
from elastic_jax.mixings.mixing import Mixing, lost_energy
from elastic_jax.topologies.exchange import by_product

PyTree = Any


def matcha(topology: topologies.Topology, budget: float, *, optimal: bool = True) -> Mixing:
    """W_k = I - a Σ_l B_l L_l: matching l of the graph, of Laplacian L_l, is active (B_l = 1) with probability p_l.

    The probabilities make λ₂(Σ_l p_l L_l) largest under Σ_l p_l <= budget · (number of matchings), and a makes
    E‖W X - X̄‖² smallest.

    Args:
        topology: whose edges are split into matchings.
        budget: in (0, 1], the share of all matchings that is active in the mean.
        optimal: the best probabilities, which needs cvxpy; else all matchings have `budget`.

    Raises:
        ImportError: without cvxpy, saying how to get it.

    Source: Wang, Sahu, Yang, Joshi, Kar, MATCHA, 2019, arXiv 1905.09435. Departure: a minimises E[WᵀW] - J itself, by a
    search over one number, where the paper solves a relaxed semidefinite program.
    """
    topologies.check(topology)
    budget = arguments.fraction("budget", budget)
    arguments.flag("optimal", optimal)
    n = topologies.num_workers(topology)
    laplacians = np.stack(
        [_laplacian(matching, n) for matching in edge_colours(topology.adjacency)] or [np.zeros((n, n))]
    )
    rates = best_rates(laplacians, budget) if optimal else np.full(len(laplacians), budget)
    best = optimize.minimize_scalar(
        partial(_lost, laplacians=laplacians, rates=rates), bounds=(0.0, 1.0), method="bounded"
    )
    step = float(best.x)
    return Mixing(
        partial(_mix, step=step, laplacians=laplacians, rates=rates),
        partial(_matrix, step=step, laplacians=laplacians, rates=rates),
        partial(_num_messages, laplacians=laplacians, rates=rates),
        n,
        1.0 - _lost(step, laplacians=laplacians, rates=rates) if n > 1 else 1.0,
    )


def best_rates(laplacians: np.ndarray, budget: float) -> np.ndarray:
    """float[l]: the probabilities in [0, 1] of most λ₂(Σ_l p_l L_l), with Σ_l p_l <= budget · l."""
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError("optimal = True needs cvxpy; install elastic-jax[fastest], or set optimal=False") from error
    n = laplacians.shape[1]
    rates = cvxpy.Variable(len(laplacians))
    mean = sum(rates[number] * laplacian for number, laplacian in enumerate(laplacians))
    # with the mean direction lifted out of the way, the smallest eigenvalue is λ₂
    lifted = mean + np.ones((n, n))
    within = [rates >= 0, rates <= 1, cvxpy.sum(rates) <= budget * len(laplacians)]
    cvxpy.Problem(cvxpy.Maximize(cvxpy.lambda_min(lifted)), within).solve()
    return np.clip(np.asarray(rates.value), 0.0, 1.0)


def _lost(step: float, *, laplacians: np.ndarray, rates: np.ndarray) -> float:
    """1 - p: of E[WᵀW] = (I - a L̄)² + a² Σ_l p_l (1 - p_l) L_l²."""
    mean = np.tensordot(rates, laplacians, 1)
    spread = np.tensordot(rates * (1 - rates), laplacians @ laplacians, 1)
    whole = np.eye(len(mean)) - step * mean
    return lost_energy(whole @ whole + step**2 * spread)


def _laplacian(matching: list[tuple[int, int]], num_workers: int) -> np.ndarray:
    laplacian = np.zeros((num_workers, num_workers))
    for i, j in matching:
        laplacian[[i, j], [i, j]] = 1.0
        laplacian[i, j] = laplacian[j, i] = -1.0
    return laplacian


def _draw(key: Array, rates: np.ndarray) -> Array:
    return jax.random.bernoulli(key, jnp.asarray(rates))


def _matrix(key: Array, num_mixings: Array, *, step: float, laplacians: np.ndarray, rates: np.ndarray) -> Array:
    del num_mixings
    total = jnp.tensordot(_draw(key, rates).astype(float), jnp.asarray(laplacians), 1)
    return jnp.eye(laplacians.shape[1]) - step * total


def _mix(
    key: Array, num_mixings: Array, rows: PyTree, *, step: float, laplacians: np.ndarray, rates: np.ndarray
) -> PyTree:
    matrix = _matrix(key, num_mixings, step=step, laplacians=laplacians, rates=rates)
    return jax.tree.map(lambda leaf: by_product(leaf, matrix.astype(leaf.dtype)), rows)


def _num_messages(key: Array, num_mixings: Array, *, laplacians: np.ndarray, rates: np.ndarray) -> Array:
    del num_mixings
    degrees = np.diagonal(laplacians, axis1=1, axis2=2)
    return jnp.tensordot(_draw(key, rates).astype(float), jnp.asarray(degrees), 1).astype(jnp.int32)
