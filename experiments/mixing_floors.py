"""Where noise keeps rows that mix now and then: exact second moments on diagonal quadratics.

In each coordinate of a quadratic with minimum 0 the rows X of Cooperative SGD, n workers with curvatures a_i and then
auxiliary rows with none, follow

    X_{t+1} = W_t (D X_t + α noise),    D = diag(1 - α a_i),    W_t = W if t + 1 is a multiple of H, else I

with noise of variance s in each worker's row. Their second moments S = E X Xᵀ therefore follow a linear recursion,
S_{t+1} = W_t (D S_t D + α² s P) W_tᵀ, P = diag(1, ..., 1, 0, ...), which has one solution that repeats itself every H
steps. From S come what the mean of all rows x has, 1ᵀ S 1 / r², and what the workers have, the mean of S_ii.

With no curvature, x wanders off but distances from it do not, and in units of α² s / 2 the mean over workers and a
period of E (x^i - x)² is

    (1/n) Σ over modes of (noise in the mode) (H (1 + λ²) / (1 - λ²) - 1),   at most   H (1 + ζ²) / (1 - ζ²) - 1.

The second is the network error in Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg


class Mixed(NamedTuple):
    """A quadratic with minimum 0, and how workers on it mix."""

    curvatures: np.ndarray
    """float64[n, d], > 0."""
    variances: np.ndarray
    """float64[d], gradient units squared: of the noise in each coordinate."""
    matrix: np.ndarray
    """float64[r, r], doubly stochastic, r >= n: W."""
    period: int
    """H >= 1, steps; the first mixing is after step H."""
    step_size: float
    """α > 0, of each worker."""


class Moments(NamedTuple):
    """Second moments in each coordinate, parameter units squared."""

    mean: np.ndarray
    """[..., d]: E x², x the mean of all rows."""
    workers: np.ndarray
    """[..., d]: (1/n) Σ_i E (x^i)²."""


def stationary(mixed: Mixed) -> Moments:
    """The means over a period of the solution that repeats itself, [d].

    Raises:
        ValueError: if some coordinate is unstable, so that there is none.
    """
    decays, noises = _recursion(mixed)
    starts = []
    for decay, noise in zip(decays, noises, strict=True):
        over_period = mixed.matrix * decay**mixed.period
        largest = np.abs(np.linalg.eigvals(over_period)).max()
        if largest >= 1:
            raise ValueError(f"α = {mixed.step_size:g} is unstable: a period multiplies rows by {largest:.4g}")
        gathered = np.diag(sum(decay ** (2 * step) for step in range(mixed.period)) * noise)
        starts.append(linalg.solve_discrete_lyapunov(over_period, mixed.matrix @ gathered @ mixed.matrix.T))
    found = _follow(mixed, np.array(starts), mixed.period)
    return Moments(found.mean.mean(axis=0), found.workers.mean(axis=0))


def path(mixed: Mixed, start: np.ndarray, num_steps: int) -> Moments:
    """The moments of x_0, ..., x_{T-1}, [T, d], if all rows start at `start` [d]."""
    num_rows = len(mixed.matrix)
    squares = np.asarray(start, np.float64) ** 2
    return _follow(mixed, np.tile(squares[:, None, None], (1, num_rows, num_rows)), num_steps)


def zeta(matrix: np.ndarray) -> float:
    """ζ = ‖W - J‖₂."""
    return float(np.linalg.norm(matrix - 1 / len(matrix), 2))


def worst_network_error(matrix: np.ndarray, period: int) -> float:
    """H (1 + ζ²) / (1 - ζ²) - 1: the theorem's, as if all noise were in the slowest mode."""
    squared = zeta(matrix) ** 2
    return period * (1 + squared) / (1 - squared) - 1


def network_error(matrix: np.ndarray, period: int, *, num_workers: int) -> float:
    """The same with the noise in the modes where it is: what the mean over workers has without curvature."""
    away = matrix - 1 / len(matrix)
    centred = np.eye(len(matrix)) - 1 / len(matrix)
    noise = centred[:, :num_workers] @ centred[:num_workers]
    after = linalg.solve_discrete_lyapunov(away, period * away @ noise @ away.T)
    middle = after + (period - 1) / 2 * noise
    return float(2 * np.trace(middle[:num_workers, :num_workers]) / num_workers)


def _recursion(mixed: Mixed) -> tuple[np.ndarray, np.ndarray]:
    """What a row keeps in a step, [d, r], and the noise that it gets, [d, r]."""
    num_workers, dim = mixed.curvatures.shape
    decays, noises = np.ones((dim, len(mixed.matrix))), np.zeros((dim, len(mixed.matrix)))
    decays[:, :num_workers] -= mixed.step_size * mixed.curvatures.T
    noises[:, :num_workers] = mixed.step_size**2 * mixed.variances[:, None]
    return decays, noises


def _follow(mixed: Mixed, moments: np.ndarray, num_steps: int) -> Moments:
    """From S_0 [d, r, r] on, which is right after a mixing or at the start."""
    num_workers = len(mixed.curvatures)
    decays, noises = _recursion(mixed)
    kept, added = decays[:, :, None] * decays[:, None, :], noises[:, :, None] * np.eye(len(mixed.matrix))
    means, workers = [], []
    for step in range(num_steps):
        means.append(moments.mean(axis=(1, 2)))
        workers.append(np.einsum("dii->di", moments)[:, :num_workers].mean(axis=1))
        moments = kept * moments + added
        if (step + 1) % mixed.period == 0:
            moments = mixed.matrix @ moments @ mixed.matrix.T
    return Moments(np.array(means), np.array(workers))
