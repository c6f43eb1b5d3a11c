"""What mixing does to noise, exactly and for any number of workers: every gradient is a direction of its own.

If the gradients of all workers in all steps are the unit vectors of R^(T n), each for itself, and α = 1, the rows are
X_t^i = -Σ_s Σ_j c_ij(s) e_(s,j), c being how much row i has of the noise of worker j in step s. Squared norms are then
what they are in expectation for independent noises of variance 1, since Σ c² is both. One run, no statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import mixed, trajectory
from proofs_check.cooperative_rates import mixed_runs, network
from proofs_check.mixed import Mixed
from proofs_check.trajectory import norms_sq


class Spread(NamedTuple):
    """How far apart noise of variance 1 drives the rows."""

    consensus: np.ndarray
    """float64[T]. (1/n) E‖(I - J) X_t‖² before every step, with α = σ = 1."""
    mixed: Mixed
    """As declared, which a planted bug leaves as it is."""
    num_workers: int

    @property
    def zeta(self) -> float:
        """ζ of the one W."""
        found = network.zeta(self.mixed)
        if found is None:
            raise ValueError("zeta is None; only one W in every mixing has it")
        return found

    @property
    def period_mean(self) -> float:
        """Over all steps, which are whole periods."""
        return float(self.consensus.mean())

    @property
    def last_period_mean(self) -> float:
        """Over the last H steps."""
        return float(self.consensus[-self.mixed.period :].mean())


def unit_gradients(keys: Any, views: Any, data: Any, workers: Any, /) -> tuple[Any, Any]:
    """The unit vector of the number that worker i has in this step, wherever it is."""
    del keys
    _, numbers = data
    return jnp.zeros(workers.shape[0]), jax.nn.one_hot(numbers[workers], views.shape[1], dtype=views.dtype)


def spread(
    arguments: Mapping[str, Any],
    *,
    num_workers: int,
    num_steps: int,
    plant: Callable[[Algorithm], Algorithm] | None = None,
) -> Spread:
    """One run on noise alone.

    Args:
        arguments: of the first variant that takes them all and mixes its rows.
        num_workers: n.
        num_steps: T, a multiple of the period.
        plant: a bug.
    """
    declared = mixed_runs.build(arguments, unit_gradients, num_workers=num_workers, step_size=1.0)
    algorithm = declared if plant is None else plant(declared)
    with jax.enable_x64(True):
        key = trajectory.run_key(is_exact=True)
        keys = trajectory.step_keys(key[0], key[1:], num_steps=num_steps)[0]
        numbers = jnp.arange(num_steps * num_workers, dtype=jnp.int32).reshape(num_steps, num_workers)
        start = jnp.zeros(num_steps * num_workers)
        seen = jax.device_get(_roll(keys, start, numbers, algorithm=algorithm))
    others = seen.other_params
    parts = [seen.local_params, *([others] if isinstance(others, np.ndarray) else [])]
    rows = np.concatenate(parts, axis=1)
    consensus = norms_sq(mixed.apart(rows)).sum(axis=1) / num_workers
    return Spread(consensus, mixed.known(declared), num_workers)


@partial(jax.jit, static_argnames="algorithm", compiler_options=trajectory.QUICKLY)
def _roll(keys: Any, start: Any, numbers: Any, *, algorithm: Algorithm) -> trajectory.Seen:
    return trajectory.roll(keys, start, (), numbers, algorithm=algorithm)


def modes_sq(found: Mixed) -> np.ndarray:
    """float64[r - 1]. Squares of the singular values of W - J, without the 0 of the mean: λ² for a symmetric W."""
    W = found.mixing.constant_matrix
    if W is None:
        raise ValueError("constant_matrix is None; only one W in every mixing has modes")
    return np.sort(np.linalg.svd(W - 1 / len(W), compute_uv=False) ** 2)[1:]
