"""What an instance is made of, for bounds in M and for bounds in σ.

gradients     f_t^i(x) = ⟨G_t^i, x⟩ with any G_t^i of norm at most M = 1: every bound in M alone applies.
noise of two  f(x) = Σ_j h_j x_j² / 2 with |h_j| <= L = 1, and gradients ∇f ± b with ‖b‖ = σ = 1, over all paths of two
              workers, or of three: bounds in σ apply, up to the largest α for which the variant declares one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax.base import Algorithm, Constants, Oracle, PyTree
from proofs_check import cases, trajectory, two_samples
from proofs_check.trajectory import Seen, Trajectory

NUM_COORDINATES = two_samples.NUM_COORDINATES
NUM_WORKERS = 4
"""n of given gradients."""
NUM_STEPS = 40
"""T of given gradients: long enough for geometric sums to come near their limit."""
MAX_TOSSES = 10
"""Coins of a run with noise: 2^10 paths at most."""

Variables = Mapping[str, Any]
"""What is searched over: arrays by name."""


class Kind(NamedTuple):
    """A way to make instances; one of `KINDS`."""

    oracle: Oracle
    num_workers: int
    constants: Constants
    """For which the bound is declared that is to be used up."""
    stated: Constants
    """What statements are told of the problem; where M is not, they take that of the run itself."""
    starts: Callable[[int, np.random.Generator], Variables]
    """`starts(number, generator)`: the first candidates, arrays [number, ...]."""
    allowed: Callable[[Variables], Variables]
    """The nearest candidate that is one of the kind."""
    roll: Callable[[Algorithm, Variables, Array], Seen]
    """`roll(algorithm, variables, seed)`: all runs of one schedule, leaves [S, T, ...]. It can be differentiated."""


def distances_sq(kind: Kind, algorithm: Algorithm, variables: Variables, seed: Array) -> Array:
    """E‖x_t - v_t^i‖² of one schedule, [T, k]: the mean over all runs."""
    return mean_distances_sq(kind.roll(algorithm, variables, seed))


def mean_distances_sq(seen: Seen) -> Array:
    """The same of runs that are there."""
    away = jax.tree.map(lambda view, one: view - one[:, :-1, None], seen.info.views, seen.params)
    total = sum((jnp.sum(leaf**2, axis=-1) for leaf in jax.tree.leaves(away)), start=jnp.zeros(()))
    return jnp.mean(total, axis=0)


def start(algorithm: Algorithm) -> PyTree:
    """x_0 = 0, in layers where barriers wait for layers. For none of these bounds it matters where a run starts."""
    return jax.tree.map(jnp.asarray, two_samples.layers(np.zeros(NUM_COORDINATES), num_layers(algorithm)))


def num_layers(algorithm: Algorithm) -> int:
    """2 where barriers wait for layers, else 1."""
    return 2 if cases.goes_on_by_layers(algorithm) else 1


def lay_out(kind: Kind, algorithm: Algorithm, variables: Variables, seed: int) -> Trajectory:
    """All of a run, for statements. What f is at x_t is no part of an instance, and NaN."""
    with jax.enable_x64(True):
        allowed = kind.allowed(jax.tree.map(jnp.asarray, variables))
        seen = jax.device_get(_roll(allowed, jnp.asarray(seed), kind=kind, algorithm=algorithm))
    runs, steps = seen.info.weights.shape[:2]
    number = runs * (steps + 1) + seen.info.weights.size
    unknown = np.full(number, np.nan), np.full((number, NUM_COORDINATES), np.nan)
    return trajectory.laid_out(seen, *unknown, is_exact=True, num_layers=num_layers(algorithm))


@partial(jax.jit, static_argnames=("kind", "algorithm"), compiler_options=trajectory.QUICKLY)
def _roll(variables: Variables, seed: Array, *, kind: Kind, algorithm: Algorithm) -> Seen:
    return kind.roll(algorithm, variables, seed)


def _step_keys(seed: Array, num_steps: int) -> Array:
    """key[T + 1, 2]: of the schedule and of the samples."""
    keys = jax.random.split(jax.random.key(seed))
    return trajectory.step_keys(keys[0], keys[1:], num_steps=num_steps)[0]


def _given_gradients(keys: Array, views: PyTree, data: tuple[tuple[()], Array], workers: Array) -> tuple[Array, PyTree]:
    """The oracle: worker i has the gradient `data[1][i]` [d], whatever its view."""
    del keys
    rows = data[1][workers]
    leaves, treedef = jax.tree.flatten(views)
    return jnp.zeros(workers.shape[0], rows.dtype), jax.tree.unflatten(treedef, jnp.split(rows, len(leaves), axis=1))


def _gradients(number: int, generator: np.random.Generator) -> Variables:
    """Three kinds in turn: all equal, with all entries equal; all equal, with one entry; random."""
    found = generator.standard_normal((number, NUM_STEPS, NUM_WORKERS, NUM_COORDINATES))
    found[::3] = 1.0
    found[1::3] = np.eye(NUM_COORDINATES)[0]
    return {"gradients": 2 * found}


def _of_norm_one_at_most(variables: Variables) -> Variables:
    gradients = variables["gradients"]
    norms = jnp.sqrt(jnp.maximum(jnp.sum(gradients**2, axis=-1, keepdims=True), 1.0))
    return {"gradients": gradients / norms}


def _roll_gradients(algorithm: Algorithm, variables: Variables, seed: Array) -> Seen:
    keys = _step_keys(seed, len(variables["gradients"]))
    seen = trajectory.roll(keys, start(algorithm), (), variables["gradients"], algorithm=algorithm)
    return jax.tree.map(lambda leaf: leaf[None], seen)


def _noise(number: int, generator: np.random.Generator) -> Variables:
    """Curvatures at ±1 and between, noise in all directions."""
    curvature = generator.uniform(-1, 1, (number, NUM_COORDINATES))
    curvature[::3], curvature[1::3] = 1.0, -1.0
    return {"curvature": curvature, "offset": generator.standard_normal((number, NUM_COORDINATES))}


def _smooth_and_of_variance_one(variables: Variables) -> Variables:
    offset = variables["offset"]
    norm = jnp.sqrt(jnp.sum(offset**2, axis=-1, keepdims=True))
    return {"curvature": jnp.clip(variables["curvature"], -1.0, 1.0), "offset": offset / norm}


def _roll_noise(algorithm: Algorithm, variables: Variables, seed: Array) -> Seen:
    zeros, num_workers = np.zeros(NUM_COORDINATES), algorithm.num_workers
    coefficients = two_samples.Coefficients(variables["curvature"], 0.0, 0.0, zeros, variables["offset"])
    num_steps = MAX_TOSSES // num_workers
    coins = trajectory.all_coins(num_steps, num_workers, num_workers)
    keys = _step_keys(seed, num_steps)
    over_paths = jax.vmap(partial(trajectory.roll, algorithm=algorithm), (None, None, None, 0))
    return over_paths(keys, start(algorithm), coefficients, coins)


def _noise_of(num_workers: int) -> Kind:
    known = Constants(smoothness=1.0, grad_variance=1.0, heterogeneity=0.0)
    return Kind(two_samples.oracle, num_workers, known, known, _noise, _smooth_and_of_variance_one, _roll_noise)


KINDS: Mapping[str, Kind] = {
    "gradients": Kind(
        oracle=_given_gradients,
        num_workers=NUM_WORKERS,
        constants=Constants(grad_second_moment=1.0),
        stated=Constants(),
        starts=_gradients,
        allowed=_of_norm_one_at_most,
        roll=_roll_gradients,
    ),
    "noise of two": _noise_of(2),
    "noise of three": _noise_of(3),
}
"""{name: kind}."""
