"""How far apart rows are kept: the constant in E‖x_t - x_t^i‖² <= (α c M)²."""

from __future__ import annotations

import math

import numpy as np

from elastic_jax.mixings.mixing import Mixing

NEGLIGIBLE = 1e-12
MOST_TERMS = 100_000


def spread(mixing: Mixing, *, period: int, num_workers: int, is_late: bool = False) -> float | None:
    """The least c known with E‖x_t - x_t^i‖² <= (α c M)², for every worker i, step t and gradients of E‖g‖² <= M².

    Steps of all rows but the auxiliary ones, then W_k if t + 1 is a multiple of the period; x is the mean of all rows.
    At most H - 1 gradients of each worker have not been mixed yet, and H have been m times for each m >= 1.

    With one W: x_t - x_t^i = α Σ_s Σ_j (W^m(s) - J)_ij g_s^j, so by Minkowski c = max_i [(H - 1) Σ_j |(I - J)_ij| +
    H Σ_{m>=1} Σ_j |(W^m - J)_ij|], which equal norms with the worst signs attain. With any: ‖X - X̄‖ shrinks by ρ =
    √(1 - p) in every block of b mixings in expectation, and Σ_j ‖g^j‖² <= n M², so c = √n (b H / (1 - ρ) - 1). None
    where p = 0.

    Args:
        mixing: rows are workers, then auxiliary ones.
        period: H >= 1, steps between mixings.
        num_workers: n >= 1.
        is_late: a step is mixed for the first time one mixing later, so that H - 1 becomes H, and b H - 1 becomes b H.
    """
    lost = math.sqrt(max(0.0, 1.0 - mixing.contraction))
    if lost > 1 - NEGLIGIBLE:
        return None
    any_mixing = math.sqrt(num_workers) * (mixing.block * period / (1 - lost) - (not is_late))
    if mixing.constant_matrix is None:
        return any_mixing
    # (W - J)^m = W^m - J for a doubly stochastic W
    away = mixing.constant_matrix - 1.0 / mixing.num_rows
    power = np.eye(mixing.num_rows) - 1.0 / mixing.num_rows
    totals = (period - (not is_late)) * np.abs(power[:, :num_workers]).sum(axis=1)
    for _ in range(MOST_TERMS):
        power = away @ power
        term = period * np.abs(power[:, :num_workers]).sum(axis=1)
        totals += term
        if term.max() <= NEGLIGIBLE:
            return float(min(totals[:num_workers].max(), any_mixing))
    return any_mixing
