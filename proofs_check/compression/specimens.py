"""What statements about compressors are tried on: messages that are bad for some compressor, and runs with memory."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import algorithms, compressors, problems
from elastic_jax.base import Algorithm, Problem, PyTree, StepSize
from elastic_jax.compressors import Compressor
from proofs_check import cases, lacks, trajectory, two_samples
from proofs_check.cases import Case
from proofs_check.trajectory import Trajectory

NUM_ENTRIES = 8
LEAVES = (2, 3, 3)
"""How the entries are laid out over leaves."""


def messages() -> Mapping[str, np.ndarray]:
    """{name: float64[8]}: each is the worst of some compressor, or has ties, zeros, or entries of all sizes."""
    generator = np.random.default_rng(0)
    one = np.eye(NUM_ENTRIES)
    return {
        "flat": np.ones(NUM_ENTRIES),
        "alternating": np.resize([1.0, -1.0], NUM_ENTRIES),
        "mixed": np.array([3.0, -1.0, 0.5, 2.0, 0.0, -1.5, 1.0, -2.0]),
        "ties and zeros": np.array([2.0, -2.0, 0.0, 0.0, 1.0, -1.0, 2.0, 0.0]),
        "one positive entry": one[0],
        "one negative entry": -3 * one[3],
        "all but one at three quarters": np.where(one[0] > 0, 1.0, 0.75),
        "one leaf of three": np.repeat([0.0, 1.0, 0.0], LEAVES),
        "one entry of a leaf": one[LEAVES[0]],
        "gaussian": generator.standard_normal(NUM_ENTRIES),
        "heavy-tailed": generator.standard_cauchy(NUM_ENTRIES) ** 3,
        "tiny": 1e-100 * generator.standard_normal(NUM_ENTRIES),
    }


def stacked_messages() -> np.ndarray:
    """All `messages`, each divided by its largest entry, so that each counts: float64[N, 8]."""
    rows = np.stack(list(messages().values()))
    return rows / np.abs(rows).max(axis=1, keepdims=True)


def shrinking(lost: float) -> Compressor:
    """C(w) = (1 - √γ) w, with γ = `lost` in (0, 1): it loses as much of every message as a contraction may."""
    return Compressor(
        encode=partial(_encode_shrunk, factor=1 - lost**0.5),
        decode=_decode_as_is,
        bits=_bits_of_all,
        contraction_factor=partial(_given_factor, factor=1 - lost),
        variance_factor=partial(_given_factor, factor=None),
        is_pathwise=True,
        is_shrinking=True,
    )


def _encode_shrunk(key: jax.Array, message: PyTree, *, factor: float) -> PyTree:
    del key
    return jax.tree.map(lambda leaf: factor * leaf, message)


def _decode_as_is(key: jax.Array, code: PyTree, reference: PyTree) -> PyTree:
    del key, reference
    return code


def _bits_of_all(message: PyTree) -> int:
    return sum(8 * leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(message))


def _given_factor(message: PyTree, *, factor: float | None) -> float | None:
    del message
    return factor


NUM_MILD = 4
"""How many of `messages`, the first, are rounded either way often enough for means over draws to be Gaussian."""


@functools.cache
def sent(compressor: Compressor, *, num_draws: int = 1, is_tree: bool = False) -> np.ndarray:
    """C(w) of all `messages` for each of `num_draws` keys, which the messages share: float64[S, N, d].

    Messages are compressed as they are, and what is sent is divided by their largest entries, as they are in
    `stacked_messages`.

    Args:
        compressor: any.
        num_draws: S; one is enough for what is deterministic.
        is_tree: the message is a tree with leaves of `LEAVES` entries; else one vector.
    """
    with jax.enable_x64(True):
        rows = jnp.asarray(np.stack(list(messages().values())))
        places = np.cumsum(LEAVES)[:-1]
        tree = tuple(jnp.split(rows, places, axis=1)) if is_tree else (rows,)
        over_messages = jax.vmap(partial(compressors.compress, compressor), (None, 0))
        keys = jax.random.split(jax.random.key(0), num_draws)
        over_keys = jax.jit(jax.vmap(over_messages, (0, None)), compiler_options=trajectory.QUICKLY)
        drawn = jax.device_get(over_keys(keys, tree))
    return np.concatenate(drawn, axis=-1) / np.abs(np.asarray(rows)).max(axis=1, keepdims=True)


def example(*, is_tree: bool) -> PyTree:
    """The shapes of one message, for factors that depend on them."""
    sizes = LEAVES if is_tree else (NUM_ENTRIES,)
    return tuple(jax.ShapeDtypeStruct((size,), np.dtype(np.float64)) for size in sizes)


def is_homogeneous(compressor: Compressor) -> bool:
    """C(3 w) = 3 C(w) on all `messages`."""
    tripled = compressor._replace(encode=partial(_encode_tripled, encode=compressor.encode))
    once, thrice = sent(compressor), sent(tripled)
    return bool(np.all(np.abs(thrice - 3 * once) <= 1e-12 * np.abs(once).max(axis=-1, keepdims=True)))


def _encode_tripled(key: jax.Array, message: PyTree, *, encode: Callable[..., PyTree]) -> PyTree:
    return encode(key, jax.tree.map(lambda leaf: 3 * leaf, message))


def variants(*, error_feedback: bool) -> Iterator[str]:
    """Names of the synchronous variants that compress.

    With error feedback, those whose views lack what is unsent and nothing else; without, those whose views lack
    nothing.
    """
    reasons = {lacks.UNSENT} if error_feedback else set()
    for name, module in algorithms.variants().items():
        if {"compressor", "error_feedback"} <= inspect.signature(module.build).parameters.keys():
            given: dict[str, Any] = {"compressor": compressors.top_k(0.5), "error_feedback": error_feedback}
            built = module.build(two_samples.oracle, num_workers=cases.NUM_WORKERS_EXACT, **given)
            if lacks.of(built) == reasons:
                yield name


def with_memory(
    chosen: Mapping[str, Compressor],
    names: tuple[str, ...],
    *,
    step_size: StepSize,
    max_tosses: int = cases.MAX_TOSSES,
) -> Iterator[Case]:
    """Every synchronous variant with error feedback and each compressor, over all paths.

    A schedule is told apart from a constant step size by `Case.step_size`, which is NaN.

    Args:
        chosen: {label: compressor}.
        names: of the objectives of `two_samples`.
        step_size: α, or a schedule.
        max_tosses: coins of a run.
    """
    for name in variants(error_feedback=True):
        for label, compressor in chosen.items():
            algorithm, runs = _runs(name, compressor, step_size, max_tosses)
            size = step_size if isinstance(step_size, float) else float("nan")
            yield from cases.of_runs(f"{name}({label})", algorithm, {each: runs[each] for each in names}, size)


@functools.cache
def _runs(
    name: str, compressor: Compressor, step_size: StepSize, max_tosses: int
) -> tuple[Algorithm, dict[str, Trajectory]]:
    with jax.enable_x64(True):
        algorithm = algorithms.variant(name).build(
            two_samples.oracle,
            num_workers=cases.NUM_WORKERS_EXACT,
            step_size=step_size,
            compressor=compressor,
            error_feedback=True,
        )
    return algorithm, trajectory.every_path(algorithm, two_samples.objectives(), max_tosses=max_tosses)


def sampled(
    name: str,
    label: str,
    compressor: Compressor,
    *,
    error_feedback: bool,
    step_size: float,
    num_seeds: int,
    num_steps: int,
) -> Case:
    """A variant with a compressor on a quadratic of six coordinates, two identical workers, over seeds.

    Args:
        name: of the variant.
        label: of the compressor, for the record.
        compressor: any.
        error_feedback: as `build` takes it.
        step_size: α.
        num_seeds: S, each with draws of its own.
        num_steps: T.
    """
    algorithm, run = _sampled_run(name, compressor, error_feedback, step_size, num_seeds, num_steps)
    return Case(f"{name}({label}) on quadratic, {num_seeds} seeds", algorithm, run, _problem().constants, step_size)


@functools.cache
def _sampled_run(
    name: str, compressor: Compressor, error_feedback: bool, step_size: float, num_seeds: int, num_steps: int
) -> tuple[Algorithm, Trajectory]:
    problem = _problem()
    with jax.enable_x64(True):
        algorithm = algorithms.variant(name).build(
            problem.oracle,
            num_workers=problem.num_workers,
            step_size=step_size,
            compressor=compressor,
            error_feedback=error_feedback,
        )
    return algorithm, trajectory.sampled(algorithm, problem, num_steps=num_steps, num_seeds=num_seeds)


@functools.cache
def _problem() -> Problem:
    with jax.enable_x64(True):
        build = partial(problems.problem("quadratic").build, dim=6)
        return cases.replicated(build, num_workers=cases.NUM_WORKERS_EXACT)


PATHWISE: Mapping[str, Compressor] = {
    "top_k": compressors.top_k(0.25),
    "scaled_sign": compressors.scaled_sign(),
    "two_means": compressors.two_means(),
}
"""Contractions for runs with memory, each for all draws."""
