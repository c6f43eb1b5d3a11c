"""Weights of edges: from a graph to a symmetric and doubly stochastic matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def metropolis(adjacency: np.ndarray) -> np.ndarray:
    """W_ij = 1 / (1 + max(d_i, d_j)), d the degrees: workers need to know those of their neighbours only."""
    degrees = adjacency.sum(axis=1)
    return completed(np.where(adjacency, 1.0 / (1.0 + np.maximum(degrees[:, None], degrees[None, :])), 0.0))


def max_degree(adjacency: np.ndarray) -> np.ndarray:
    """W_ij = 1 / (1 + max_k d_k)."""
    return completed(np.where(adjacency, 1.0 / (1.0 + adjacency.sum(axis=1).max()), 0.0))


def best_constant(adjacency: np.ndarray) -> np.ndarray:
    """W = I - a L with the Laplacian L and a = 2 / (λ₂(L) + λ_n(L)): the least ζ of all with one weight for all edges.

    Its diagonal may be negative: 1 - a d_i of a star's middle is.
    """
    if len(adjacency) == 1:
        return np.ones((1, 1))
    eigenvalues = np.linalg.eigvalsh(np.diag(adjacency.sum(axis=1)) - adjacency.astype(float))
    return completed(np.where(adjacency, 2.0 / (eigenvalues[1] + eigenvalues[-1]), 0.0))


def fastest(adjacency: np.ndarray) -> np.ndarray:
    """The least ζ of all symmetric W on this graph, a semidefinite program: needs `cvxpy`.

    Raises:
        ImportError: saying how to get it.
    """
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError("weights = 'fastest' needs cvxpy; install elastic-jax[fastest]") from error

    n = len(adjacency)
    smaller, larger = np.nonzero(np.triu(adjacency))
    if not len(smaller):
        return np.ones((1, 1))
    incidence = np.zeros((n, len(smaller)))
    incidence[smaller, np.arange(len(smaller))], incidence[larger, np.arange(len(smaller))] = 1.0, -1.0
    of_edges = cvxpy.Variable(len(smaller))
    deviations = np.eye(n) - incidence @ cvxpy.diag(of_edges) @ incidence.T - np.full((n, n), 1.0 / n)
    cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(deviations, 2))).solve()
    matrix = np.zeros((n, n))
    matrix[smaller, larger] = matrix[larger, smaller] = of_edges.value
    return completed(matrix)


def completed(matrix: np.ndarray) -> np.ndarray:
    """With the diagonal that is missing to rows of sum 1."""
    # summed apart from the diagonal and then completed, so that every row sums to 1 to the last bit it can
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, 1.0 - matrix.sum(axis=1))
    return matrix


WEIGHTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "metropolis": metropolis,
    "max_degree": max_degree,
    "best_constant": best_constant,
    "fastest": fastest,
}
"""{name: function of the adjacency bool[n, n]}."""
