"""Bugs of mixings, planted on purpose: an algorithm in, the same with one mistake out.

What they declare is kept apart, in `mixed_runs.Run`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import stacked
from elastic_jax.base import Algorithm
from proofs_check import mixed, trajectory
from proofs_check.cooperative_rates import instances, mixed_runs, network
from proofs_check.cooperative_rates.mixed_runs import Run


def other_period(algorithm: Algorithm, *, period: int) -> Algorithm:
    """Rows are mixed after every `period` steps, whatever is declared."""
    return algorithm._replace(step=partial(algorithm.step, period=period))


def one_step_late(algorithm: Algorithm) -> Algorithm:
    """Rows are mixed where t, and not t + 1, is a multiple of H, but not at t = 0."""
    return algorithm._replace(step=partial(_count_late, step=algorithm.step))


def summed(algorithm: Algorithm) -> Algorithm:
    """Workers add up their parameters, instead of taking the mean, in every step."""
    return algorithm._replace(step=partial(_sum_rows, step=algorithm.step, factor=float(algorithm.num_workers)))


def lopsided(algorithm: Algorithm) -> Algorithm:
    """Rows of the W of two workers sum to one, and its columns do not."""
    W = np.array([[0.9, 0.1], [0.4, 0.6]])
    mixing = mixed.known(algorithm).mixing._replace(mix=partial(_mix_by, matrix=W))
    return algorithm._replace(step=partial(algorithm.step, mixing=mixing))


def not_mixed(algorithm: Algorithm) -> Algorithm:
    """Nobody ever mixes."""
    return other_period(algorithm, period=10**6)


def rerun(run: Run, plant: Callable[[Algorithm], Algorithm], objective: str) -> Run:
    """An exact run with a bug planted in its algorithm, which declares what it did before."""
    chosen = {objective: instances.objectives()[objective]}
    algorithm = plant(run.case.algorithm)
    found = trajectory.every_path(algorithm, chosen, max_tosses=mixed_runs.MAX_TOSSES)[objective]
    return run._replace(case=run.case._replace(algorithm=algorithm, trajectory=found))


def with_moved_mean(objective: str, **given: Any) -> dict[str, Run]:
    """{bug: an exact run in which mixing moves the mean}.

    Args:
        objective: of `instances.objectives`.
        given: more of `mixed_runs.one`.
    """
    late, gossip = (
        mixed_runs.one(objective, is_meant, **given) for is_meant in (network.is_late_average, network.is_sparse)
    )
    return {
        "workers that add up their parameters": rerun(late, summed, objective),
        "columns of W that do not sum to 1": rerun(gossip, lopsided, objective),
    }


def _count_late(key: Any, state: Any, data: Any, *, step: Callable[..., Any]) -> tuple[Any, Any]:
    late = state._replace(num_steps=jnp.maximum(state.num_steps - 1, 0))
    new_state, info = step(key, late, data)
    return new_state._replace(num_steps=state.num_steps + 1), info


def _sum_rows(key: Any, state: Any, data: Any, *, step: Callable[..., Any], factor: float) -> Any:
    new_state, info = step(key, state, data)
    return new_state._replace(local_params=stacked.scale(factor, new_state.local_params)), info


def _mix_by(key: Any, num_mixings: Any, rows: Any, *, matrix: np.ndarray) -> Any:
    del key, num_mixings
    return jax.tree.map(lambda leaf: jnp.asarray(matrix, leaf.dtype) @ leaf, rows)
