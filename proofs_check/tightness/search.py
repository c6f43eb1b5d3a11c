"""The search: many schedules and starts are screened, then gradients are ascended through the unrolled run.

What is climbed is E‖x_t - v_t^i‖², at its largest over steps and workers, as a function of all variables of an
instance; JAX differentiates it through every step of the run. After every step of the ascent a candidate is brought
back to what is allowed. Each start has a schedule of its own, and only the highest of many are climbed from: that is
the search over schedules, crashes, drops and what reads miss.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from elastic_jax import arguments
from elastic_jax.base import Algorithm
from proofs_check import cases
from proofs_check.tightness import instances, kinds
from proofs_check.tightness.instances import Instance
from proofs_check.tightness.kinds import KINDS, Kind, Variables

TIGHT = 0.99
"""A ratio from which on a constant is called tight."""
ROUNDING = 1e-9
"""By which a ratio may be above 1."""
LARGEST_STEP_SIZE = 16.0
"""Where the search for the largest α of a bound begins, with L = 1."""


class Sizes(NamedTuple):
    """How much is tried."""

    num_screened: int = 192
    """Starts, each with a schedule of its own, that are run once."""
    num_climbed: int = 12
    """The highest of them, from which is climbed."""
    num_ascents: int = 80
    """Steps of the ascent."""


SIZES = Sizes()


def settings(kind: str) -> Iterator[str]:
    """The settings for which a bound is declared from what is known of the kind, and a larger one than 0."""
    arguments.one_of("kind", kind, KINDS)
    with jax.enable_x64(True):
        for each in instances.tried():
            declared = instances.bound(KINDS[kind], instances.build(kind, each.name, instances.STEP_SIZE / 4))
            if 0 < declared < float("inf"):
                yield each.name


def best(kind: str, setting: str, *, sizes: Sizes = SIZES, seed: int = 0) -> Instance | None:
    """The instance that comes closest to the bound of a setting.

    None where the bound is an average over schedules, or where so few workers can miss nothing.

    Args:
        kind: of `kinds.KINDS`.
        setting: one of `settings(kind)`.
        sizes: how much is tried; all >= 1, and not more climbed than screened.
        seed: of the starts; schedule number j has the seed `seed` + j.
    """
    arguments.one_of("kind", kind, KINDS)
    for name, value in sizes._asdict().items():
        arguments.integer(name, value, low=1)
    arguments.integer("num_climbed", sizes.num_climbed, low=1, high=sizes.num_screened)
    made = KINDS[kind]
    with jax.enable_x64(True):
        step_size = _largest_step_size(kind, setting)
        algorithm = instances.build(kind, setting, step_size)
        starts = made.starts(sizes.num_screened, np.random.default_rng(seed))
        starts = jax.vmap(made.allowed)(jax.tree.map(jnp.asarray, starts))
        seeds = seed + jnp.arange(sizes.num_screened)
        heights, staleness = jax.jit(partial(_screen, kind=made, algorithm=algorithm))(starts, seeds)
        if cases.averages_over(algorithm, int(staleness.max())) or not heights.any():
            return None
        highest = jnp.argsort(-heights, stable=True)[: sizes.num_climbed]
        climb = partial(_climb, kind=made, algorithm=algorithm, num_ascents=sizes.num_ascents)
        chosen = jax.tree.map(lambda leaf: leaf[highest], starts)
        variables, distances = jax.device_get(jax.jit(jax.vmap(climb))(chosen, seeds[highest]))
    ratios = distances / instances.bound(made, algorithm)
    start, step, worker = (int(index) for index in np.unravel_index(np.argmax(ratios), ratios.shape))
    return Instance(
        kind=kind,
        setting=setting,
        step_size=step_size,
        seed=int(seeds[highest[start]]),
        ratio=float(ratios[start, step, worker]),
        step=step,
        worker=worker,
        variables={name: value[start] for name, value in variables.items()},
    )


def _largest_step_size(kind: str, setting: str) -> float:
    """The largest α for which the bound is declared, to nine digits; `instances.STEP_SIZE` where it is for any."""

    def is_declared(step_size: float) -> bool:
        return instances.bound(KINDS[kind], instances.build.__wrapped__(kind, setting, step_size)) < float("inf")

    if is_declared(LARGEST_STEP_SIZE):
        return instances.STEP_SIZE
    low, high = instances.STEP_SIZE / 4, LARGEST_STEP_SIZE
    while high - low > 1e-9 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if is_declared(middle) else (low, middle)
    return low


def _screen(starts: Variables, seeds: Array, *, kind: Kind, algorithm: Algorithm) -> tuple[Array, Array]:
    """How high each start is, and the largest staleness of its schedule."""

    def one(inputs: tuple[Variables, Array]) -> tuple[Array, Array]:
        variables, seed = inputs
        seen = kind.roll(algorithm, variables, seed)
        return jnp.max(kinds.mean_distances_sq(seen)), jnp.max(seen.info.staleness)

    found: tuple[Array, Array] = lax.map(one, (starts, seeds), batch_size=16)
    return found


def _climb(
    start: Variables, seed: Array, *, kind: Kind, algorithm: Algorithm, num_ascents: int
) -> tuple[Variables, Array]:
    """The best that ascent finds from one start, and the distances [T, k] of its run."""

    def height(variables: Variables) -> Array:
        return jnp.max(kinds.distances_sq(kind, algorithm, kind.allowed(variables), seed))

    optimizer = optax.adam(0.05)

    def ascend(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], None]:
        variables, opt_state, top, highest = carry
        value, slope = jax.value_and_grad(height)(variables)
        top = jax.tree.map(lambda new, old: jnp.where(value > highest, new, old), variables, top)
        descent = jax.tree.map(lambda leaf: -jnp.nan_to_num(leaf), slope)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(descent, opt_state)
        moved = kind.allowed(jax.tree.map(jnp.add, variables, updates))
        return (moved, opt_state, top, jnp.maximum(highest, value)), None

    first = (start, optimizer.init(start), start, jnp.zeros(()))
    last, _, top, highest = lax.scan(ascend, first, None, length=num_ascents)[0]
    is_higher = height(last) > highest
    top = kind.allowed(jax.tree.map(lambda new, old: jnp.where(is_higher, new, old), last, top))
    return top, kinds.distances_sq(kind, algorithm, top, seed)
