"""Second moments of workers on quadratics that mix by matrices in turn or drawn anew, and that have their own minima.

In each coordinate of a diagonal quadratic with minimum 0 the rows of n workers, of curvatures a_i and minima b_i, are

    X_{t+1} = W_t (X_t - α (a (X_t - b) + noise)),    W_t = W_k if t + 1 = (k + 1) H, else I

With a row of ones below, Y = (X, 1), this is linear, so that S = E Y Yᵀ follows a linear recursion: one step makes
D S Dᵀ + α² s P of it, D having α a_i b_i in its last column, and a mixing E W_k S W_kᵀ, a sum over what W_k can be.
From S come what the mean x has and what the workers have. With one W, and all b_i = 0, this is `mixing_floors.path`.

For two ways of mixing the theory of Cooperative SGD (arXiv 1808.07576) compares the network errors N = H (1 + ζ²) /
(1 - ζ²) - 1, so that averaging all with period H is better than gossip in every step where H - 1 < 2 ζ² / (1 - ζ²).
Where W_k changes, 1 - p takes the place of ζ², and b H that of H, if rows come together by p over every b mixings.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import mixings
from experiments.mixing_floors import Moments

Draws = tuple[tuple[float, np.ndarray], ...]
"""What W_k can be: (probability, float64[n, n]), with probabilities that sum to 1."""


class Changing(NamedTuple):
    """A quadratic with minimum 0, and how workers on it mix."""

    curvatures: np.ndarray
    """float64[n, d], > 0."""
    centres: np.ndarray
    """float64[n, d], parameter units: b_i, with Σ_i a_i b_i = 0."""
    variances: np.ndarray
    """float64[d], gradient units squared: of the noise in each coordinate."""
    cycle: tuple[Draws, ...]
    """What W_0, W_1, ... can be, in turn."""
    period: int
    """H >= 1, steps; the first mixing is after step H."""
    step_size: float
    """α > 0."""


def draws(mixing: mixings.Mixing) -> tuple[Draws, ...]:
    """All that W_k can be, for k = 0, 1, ... in turn."""
    known = mixing.matrix.keywords  # type: ignore[attr-defined]  # of a partial
    own = np.eye(mixing.num_rows)
    if "partners" in known:
        partners = known["partners"]
        return (tuple((1 / len(partners), (own + own[row]) / 2) for row in partners),)
    if "laplacians" in known:
        return (_activated(known["laplacians"], known["rates"], known["step"]),)
    key = jax.random.key(0)
    number = 1 if mixing.constant_matrix is not None else mixing.block
    return tuple(((1.0, np.asarray(mixing.matrix(key, jnp.int32(k)), np.float64)),) for k in range(number))


def _activated(laplacians: np.ndarray, rates: np.ndarray, step: float) -> Draws:
    """Of every set of active matchings."""
    found = []
    for active in itertools.product((False, True), repeat=len(rates)):
        probability = float(np.prod(np.where(active, rates, 1 - rates)))
        found.append((probability, np.eye(laplacians.shape[1]) - step * laplacians[list(active)].sum(axis=0)))
    return tuple(found)


def num_messages(cycle: tuple[Draws, ...]) -> float:
    """What a worker sends in a mixing, in the mean over workers, draws and the cycle."""
    own = np.eye(len(cycle[0][0][1]), dtype=bool)
    return float(
        sum(share * np.count_nonzero((matrix != 0) & ~own) for some in cycle for share, matrix in some)
        / (len(cycle) * len(own))
    )


def network_error(mixing: mixings.Mixing, period: int) -> float:
    """N, see the module; ∞ where nothing is certain to come together."""
    lost = 1 - mixing.contraction
    return mixing.block * period * (1 + lost) / (1 - lost) - 1 if lost < 1 else np.inf


def path(known: Changing, start: np.ndarray, num_steps: int) -> Moments:
    """The moments of x_0, ..., x_{T-1}, [T, d], if all workers start at `start` [d]."""
    num_workers, dim = known.curvatures.shape
    decays = np.zeros((dim, num_workers + 1, num_workers + 1))
    added = np.zeros_like(decays)
    rows = np.arange(num_workers)
    decays[:, rows, rows] = 1 - known.step_size * known.curvatures.T
    decays[:, :-1, -1] = known.step_size * (known.curvatures * known.centres).T
    decays[:, -1, -1] = 1
    added[:, rows, rows] = known.step_size**2 * known.variances[:, None]
    cycle = [[(share, _with_ones(matrix)) for share, matrix in some] for some in known.cycle]

    ones = np.concatenate([np.repeat(np.asarray(start, np.float64)[:, None], num_workers, 1), np.ones((dim, 1))], 1)
    moments = ones[:, :, None] * ones[:, None, :]
    means, workers = np.empty((num_steps, dim)), np.empty((num_steps, dim))
    for step in range(num_steps):
        means[step] = moments[:, :-1, :-1].mean(axis=(1, 2))
        workers[step] = moments[:, rows, rows].mean(axis=1)
        moments = decays @ moments @ decays.transpose(0, 2, 1) + added
        if (step + 1) % known.period == 0:
            some = cycle[(step // known.period) % len(cycle)]
            moments = np.sum([share * (matrix @ moments @ matrix.T) for share, matrix in some], axis=0)
    return Moments(means, workers)


def _with_ones(matrix: np.ndarray) -> np.ndarray:
    whole = np.eye(len(matrix) + 1)
    whole[:-1, :-1] = matrix
    return whole
