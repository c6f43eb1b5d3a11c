"""Runs of workers that meet in pairs, meeting by meeting: where the statements on swarms are tried.

A turn is what happens from one meeting to the next: the steps of those who will meet, and the meeting. The variants
meant are those that declare a `meeting`, whatever their name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import algorithms, base, topologies
from elastic_jax.base import Algorithm, PyTree
from proofs_check import cases, record, trajectory
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison

NUM_WORKERS = 6
DIM = 4
STEP_SIZE = cases.STEP_SIZE
NUM_SEEDS = 6
NUM_STEPS = 36

PARTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "on a ring, one step": {"topology": topologies.ring, "local_steps": 1},
    "geometric": {"distribution": "geometric", "local_steps": 3},
    "in parallel on a star": {"parallel": True, "topology": topologies.star},
    "non-blocking": {"mode": "non_blocking"},
    "non-blocking, geometric, in parallel": {
        "mode": "non_blocking",
        "distribution": "geometric",
        "parallel": True,
    },
    "lagged": {"mode": "lagged"},
    "lagged, in parallel": {"mode": "lagged", "parallel": True},
}
"""{label: arguments that are added where `build` takes all of them}."""


class Turns(NamedTuple):
    """S runs of K turns of n workers."""

    before: np.ndarray
    """float64[S, K, n, d]. x^i when the turn begins."""
    after: np.ndarray
    """float64[S, K, n, d]. x^i after its meeting."""
    steps: np.ndarray
    """float64[S, K, n, d]. U^i: what each worker added in it."""
    lost: np.ndarray
    """float64[S, K, n, d]. What the lagged form drops in this meeting: half of the last batch of who meets."""
    partners: np.ndarray
    """int64[S, K, n]. Whom each met; itself if nobody."""
    num_steps: np.ndarray
    """int64[S, K, n]. How many steps each took in the turn."""

    @property
    def scale(self) -> float:
        """What rounding is relative to."""
        return float(np.abs(self.after).max())


class Case(NamedTuple):
    """Runs of a setting."""

    setting: str
    algorithm: Algorithm
    turns: Turns

    @property
    def declared(self) -> dict[str, Any]:
        """What the algorithm declares."""
        return cases.declared(self.algorithm)

    def judge(
        self, id: str, name: str, kind: str, hypotheses: list[Hypothesis], compare: Callable[[Case], Comparison]
    ) -> Check:
        """The record of one statement in this case."""
        seeds, steps = self.turns.before.shape[:2]
        return record.judge(
            id, name, kind, self.setting, hypotheses, partial(compare, self), seeds=seeds, is_exact=False, steps=steps
        )


def builds() -> Iterator[tuple[str, Callable[..., Algorithm]]]:
    """(variant, its `build`) of those whose workers meet after steps of their own."""
    for name, module in algorithms.variants().items():
        if {"local_steps", "topology", "mode"} <= inspect.signature(module.build).parameters.keys():
            yield name, module.build


def every(
    parts: Mapping[str, Mapping[str, Any]] = PARTS, *, plant: Callable[[Algorithm], Algorithm] = lambda given: given
) -> Iterator[Case]:
    """All parts on targets of different workers, with gradients that are bounded and not linear.

    Args:
        parts: {label: arguments of `build`}.
        plant: puts a bug into each algorithm.
    """
    for name, build in builds():
        for label, given in cases.few(parts.items(), number=2):
            algorithm = plant(build(bounded_grads, num_workers=NUM_WORKERS, step_size=STEP_SIZE, **given))
            turns = run(algorithm, targets(NUM_WORKERS), num_steps=NUM_STEPS, num_seeds=NUM_SEEDS)
            yield Case(f"{name} ({label}), {NUM_SEEDS} seeds", algorithm, turns)


def targets(num_workers: int, *, dim: int = DIM, seed: int = 0) -> Array:
    """float64[n, d]. What each worker is drawn to."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal((num_workers, dim)))


def bounded_grads(keys: Array, views: PyTree, data: PyTree, workers: Array) -> tuple[Array, PyTree]:
    """tanh(v - target)/√d + z/‖z‖: ‖·‖ <= 1 of the first and 1 of the second, which is noise with mean zero."""
    away = views - jnp.asarray(data)[workers]
    noise = jax.vmap(partial(jax.random.normal, shape=away.shape[1:], dtype=away.dtype))(keys)
    lengths = jnp.linalg.norm(noise, axis=1, keepdims=True)
    grads = jnp.tanh(away) / np.sqrt(away.shape[1]) + noise / lengths
    return jnp.zeros(workers.shape[0], away.dtype), grads


def pushes(keys: Array, views: PyTree, data: PyTree, workers: Array) -> tuple[Array, PyTree]:
    """Gradients that are the same whatever the view: the worker's row of the data."""
    del keys
    return jnp.zeros(workers.shape[0], views.dtype), jnp.asarray(data)[workers]


def noisy_pushes(keys: Array, views: PyTree, data: PyTree, workers: Array) -> tuple[Array, PyTree]:
    """The worker's row of the data, and noise; the view is not looked at."""
    noise = jax.vmap(partial(jax.random.normal, shape=views.shape[1:], dtype=views.dtype))(keys)
    return jnp.zeros(workers.shape[0], views.dtype), jnp.asarray(data)[workers] + noise


def no_grads(keys: Array, views: PyTree, data: PyTree, workers: Array) -> tuple[Array, PyTree]:
    """All gradients are zero."""
    del keys, data
    return jnp.zeros(workers.shape[0], views.dtype), jnp.zeros_like(views)


SECOND_MOMENT = 2.0
"""M² of `bounded_grads`: 1 of the first term, 1 of the noise, which are uncorrelated."""


def run(
    algorithm: Algorithm,
    data: PyTree,
    *,
    num_steps: int,
    num_seeds: int,
    start: np.ndarray | None = None,
    seed: int = 0,
) -> Turns:
    """Runs with a schedule of their own each; as many turns as all of them have finished.

    Args:
        algorithm: one that declares a `meeting`, whose parameters are one array.
        data: what each step is given; leaves [n, d].
        num_steps: T.
        num_seeds: S.
        start: float[n, d], where workers begin, instead of all at zero.
        seed: of everything that is drawn.
    """
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), num_seeds)
        dim = jax.tree.leaves(data)[0].shape[1]
        begun = np.zeros((algorithm.num_workers, dim)) if start is None else np.asarray(start, np.float64)
        roll = jax.vmap(partial(_roll, algorithm=algorithm, num_steps=num_steps), (0, None, None))
        compiled = jax.jit(roll, compiler_options=trajectory.QUICKLY)
        seen = jax.device_get(compiled(keys, jnp.asarray(begun), data))
        return _by_turns(seen, begun)


def apart(rows: np.ndarray) -> np.ndarray:
    """D^i = x^i - x: [..., n, d] -> the same."""
    return rows - rows.mean(axis=-2, keepdims=True)


def spread(rows: np.ndarray) -> np.ndarray:
    """Γ = Σ_i ‖x^i - x‖²: [..., n, d] -> [...]."""
    return trajectory.norms_sq(apart(rows)).sum(axis=-1)


def partners_rows(rows: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """Each one's partner's row: [S, K, n, d] and [S, K, n] -> [S, K, n, d]."""
    return np.take_along_axis(rows, partners[..., None], axis=2)


def slowest(topology: topologies.Topology) -> np.ndarray:
    """float64[n, 1]. The eigenvector of λ₂ of the Laplacian: the rows that meetings bring together most slowly."""
    laplacian = np.diag(topologies.degrees(topology)) - topology.adjacency.astype(float)
    return np.linalg.eigh(laplacian)[1][:, 1:2]


def is_one_edge(case: Case) -> Hypothesis:
    """One pair meets at a time."""
    number = case.declared["meeting"].num_active
    return Hypothesis("one edge at a time", number == 2 < case.algorithm.num_workers, f"k = {number}")


def is_blocking(case: Case) -> Hypothesis:
    """What meets is what was reached."""
    return Hypothesis("blocking", case.declared["mode"] == "blocking", f"mode = {case.declared['mode']}")


def is_exact(case: Case) -> Hypothesis:
    """Parameters are sent whole."""
    return Hypothesis("nothing is quantised", case.declared["quantizer"] is None, f"{case.declared['quantizer']}")


class _Seen(NamedTuple):
    """What is kept of each step."""

    rows: Array
    """[n, d]. x^i after the step."""
    steps: Array
    """[n, d]. What each added in the step."""
    last: Array
    """[n, d]. U_last^i before the step."""
    partners: Array
    """int32[n]. Whom each will meet; itself if nobody."""
    is_due: Array
    """bool[]. Whether they meet at the end of this step."""
    is_active: Array
    """int32[n]. 1 for who took a step."""


def _roll(key: Array, start: Array, data: PyTree, *, algorithm: Algorithm, num_steps: int) -> _Seen:
    n = algorithm.num_workers

    def advance(state: Any, t: Array) -> tuple[Any, _Seen]:
        new_state, info = algorithm.step(base.step_key(key, t), state, data)
        rows = jnp.where(info.workers < 0, n, info.workers)
        steps = jnp.zeros_like(state.local_params).at[rows].set(info.updates, mode="drop")
        is_active = jnp.zeros(n, jnp.int32).at[rows].set(1, mode="drop")
        met = state.next_workers[state.next_partners]
        partners = jnp.arange(n, dtype=jnp.int32).at[state.next_workers].set(met)
        last = state.last_batches if jax.tree.leaves(state.last_batches) else jnp.zeros_like(state.local_params)
        # a turn is over when the steps that were left are one each
        is_due = jnp.max(state.remaining_steps) == 1
        return new_state, _Seen(new_state.local_params, steps, last, partners, is_due, is_active)

    state = algorithm.init(jax.random.fold_in(key, num_steps), start[0])
    state = state._replace(local_params=start)
    if jax.tree.leaves(state.base_params):
        state = state._replace(base_params=start)
    return lax.scan(advance, state, jnp.arange(num_steps, dtype=jnp.int32))[1]


def _by_turns(seen: Any, start: np.ndarray) -> Turns:
    """A `_Seen` of numpy arrays [S, T, ...] gathered by turns; the last, unfinished ones are left out."""
    num_turns = int(seen.is_due.sum(axis=1).min())
    rows = {name: [] for name in Turns._fields}  # type: dict[str, list[np.ndarray]]
    for s in range(len(seen.rows)):
        ends = np.flatnonzero(seen.is_due[s])[:num_turns]
        begins = np.concatenate([[0], ends[:-1] + 1])
        partners = seen.partners[s][ends].astype(np.int64)
        is_met = partners != np.arange(partners.shape[1])
        rows["before"].append(np.stack([start if b == 0 else seen.rows[s][b - 1] for b in begins]))
        rows["after"].append(seen.rows[s][ends])
        for name, of_steps in (("steps", seen.steps[s]), ("num_steps", seen.is_active[s])):
            rows[name].append(np.stack([of_steps[b : e + 1].sum(0) for b, e in zip(begins, ends, strict=True)]))
        rows["lost"].append(np.where(is_met[..., None], seen.last[s][ends] / 2, 0.0))
        rows["partners"].append(partners)
    return Turns(**{name: np.stack(parts) for name, parts in rows.items()})
