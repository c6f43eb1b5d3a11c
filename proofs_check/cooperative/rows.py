"""Rows that are not equal to begin with, and the keys of runs that start from them."""

from __future__ import annotations

import jax
import numpy as np
from jax import Array

from proofs_check import trajectory

NUM_COORDINATES = 3


def far_apart(num_rows: int, *, seed: int = 0) -> np.ndarray:
    """float64[r, 3]. Independent standard normals, plus what all rows have."""
    return 2.0 + np.random.default_rng(seed).standard_normal((num_rows, NUM_COORDINATES))


def keys(*, num_runs: int, num_steps: int, seed: int = 1) -> Array:
    """key[S, T, 2]. The pair of each step of runs that each have a schedule of their own."""
    with jax.enable_x64(True):
        both = trajectory.run_key(seed, is_exact=False)
        schedules, samples = (trajectory.split_key(key, number=num_runs) for key in both)
        return trajectory.step_keys(schedules, samples, num_steps=num_steps)[:, :-1]


def basis(num_rows: int) -> np.ndarray:
    """float64[r, r]. What a mixing without gradients makes of these rows is its matrix."""
    return np.eye(num_rows)
