"""What the statements about mixed rows are tried on: arguments of variants, objectives, problems.

A setting is tried with every variant whose `build` takes all of its arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import mixings, problems, topologies
from elastic_jax.base import Constants, Problem
from proofs_check import cases, two_samples
from proofs_check.two_samples import Coefficients, Objective

NUM_WORKERS = 8
"""Of the sampled runs; the exact ones have two."""


def lazy(num_workers: int, share: float = 0.5) -> mixings.Mixing:
    """W = share I + (1 - share) J, all of whose modes but the mean have the eigenvalue `share`."""
    return mixings.cycle([share * np.eye(num_workers) + (1 - share) / num_workers])


def springs(num_rows: int) -> mixings.Mixing:
    """Elastic averaging with one auxiliary row, the last."""
    return mixings.elastic(num_rows - 1)


# taken by the variants in which an averaging replaces rows by their mean, and by those that gossip
_LOCAL: Mapping[str, Any] = {"opt_states_at_averaging": "kept"}
_GOSSIP: Mapping[str, Any] = {"combine_first": False}

EXACT: Mapping[str, Mapping[str, Any]] = {
    "H = 1": {"period": 1, **_LOCAL},
    "H = 2": {"period": 2, **_LOCAL},
    "H = 3": {"period": 3, **_LOCAL},
    "H = 2, a = 0.5": {"period": 2, "elasticity": 0.5},
    "H = 1, lazy": {"period": 1, "mixing": lazy, **_GOSSIP},
    "H = 2, lazy": {"period": 2, "mixing": lazy, **_GOSSIP},
    "H = 2, lazy, combined first": {"period": 2, "mixing": lazy, "combine_first": True},
    "H = 3, an auxiliary row": {"period": 3, "mixing": springs, "num_auxiliary": 1},
}
"""{label: arguments}, for two workers over all paths; "lazy" is W = (I + J)/2."""

SAMPLED: Mapping[str, Mapping[str, Any]] = {
    "H = 4": {"period": 4, **_LOCAL},
    "H = 2, a = 0.2": {"period": 2, "elasticity": 0.2},
    "ring, H = 3": {"period": 3, "mixing": mixings.around_ring, **_GOSSIP},
    "torus, H = 2": {"period": 2, "mixing": mixings.constant(topologies.torus(2, 4)), **_GOSSIP},
    "star, H = 1": {"period": 1, "mixing": mixings.constant(topologies.star(NUM_WORKERS)), **_GOSSIP},
}
"""{label: arguments}, for eight workers over seeds: one W every time."""

DRAWN: Mapping[str, Mapping[str, Any]] = {
    "3 of 8, H = 2": {"period": 2, "num_sampled": 3, **_LOCAL},
    "one peer, H = 2": {"period": 2, "mixing": mixings.one_peer_exponential, **_GOSSIP},
    "matchings, H = 2": {"period": 2, "mixing": mixings.matchings(topologies.complete(NUM_WORKERS)), **_GOSSIP},
    "matcha, H = 1": {
        "period": 1,
        "mixing": mixings.matcha(topologies.ring(NUM_WORKERS), 0.5, optimal=False),
        **_GOSSIP,
    },
}
"""{label: arguments}, for eight workers over seeds: another W each time."""

AVERAGING: Mapping[str, Mapping[str, Any]] = {f"H = {period}": {"period": period, **_LOCAL} for period in (1, 4)}
"""{label: arguments}: W = J."""


TILT = (0.6, -0.4, 0.2, 0.5)
"""a: worker i has f_i(x) = f(x) ± ⟨a, x⟩, with + for even i, so that the mean over an even number of workers is f."""


def tilts(workers: Any) -> Any:
    """[..., d]. ∇f_i - ∇f of the workers [...]."""
    signs = jnp.where(jnp.asarray(workers) % 2 == 0, 1.0, -1.0)
    return signs[..., None] * jnp.asarray(TILT).reshape((1,) * signs.ndim + (-1,))


def tilted_oracle(keys: Any, views: Any, data: Any, workers: Any, /) -> tuple[Any, Any]:
    """That of `two_samples`, with workers that differ by a linear term: ‖∇f_i - ∇f‖ = ‖a‖ everywhere."""
    losses, grads = two_samples.oracle(keys, views, data, workers)
    return losses, grads + tilts(workers)


def objectives() -> dict[str, Objective]:
    """Those of `two_samples`, and "noise_alone": f = 0, whose gradients are nothing but noise."""
    return {**two_samples.objectives(), "noise_alone": _noise_alone()}


def _noise_alone() -> Objective:
    offset, start = np.array((0.3, -0.5, 0.8, 0.2)), np.array((1.0, -2.0, 0.5, 1.5))
    constants = Constants(
        # it is 0-smooth, and so 1-smooth
        smoothness=1.0,
        strong_convexity=0.0,
        grad_variance=float(offset @ offset),
        grad_second_moment=float(offset @ offset),
        heterogeneity=0.0,
        optimum=np.zeros(4),
        optimal_value=0.0,
    )
    return Objective(Coefficients(np.zeros(4), 0.0, 0.0, np.zeros(4), offset), start, constants)


_quadratic = problems.problem("quadratic").build
_nonconvex = problems.problem("nonconvex_logistic").build

PROBLEMS: Mapping[str, Callable[[], Problem]] = {
    # eight curvatures from 0.1 to 1, and noise of variance 1
    "quadratic": functools.partial(_quadratic, num_workers=NUM_WORKERS, dim=8, centre_spread=0.0),
    "round quadratic": functools.partial(
        _quadratic, num_workers=NUM_WORKERS, dim=6, centre_spread=0.0, low_curvature=0.5
    ),
    "nonconvex_logistic": functools.partial(
        cases.replicated, functools.partial(_nonconvex, dim=4, num_examples=32), num_workers=NUM_WORKERS
    ),
    "different quadratics": functools.partial(_quadratic, num_workers=NUM_WORKERS, dim=6, curvature_spread=0.5),
    "different nonconvex_logistic": functools.partial(_nonconvex, num_workers=NUM_WORKERS, dim=4, num_examples=64),
}
"""Problems that are sampled, {label: how it is made}."""


@functools.cache
def problem(name: str) -> Problem:
    """One of `PROBLEMS`, in float64."""
    with jax.enable_x64(True):
        return PROBLEMS[name]()
