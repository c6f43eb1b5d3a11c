"""Which messages are missing from which view, worked out from the record of a schedule and nothing else.

A message (s, j) is what worker j generated in step s. The sets follow the rules of crashes, drops, delays and barriers
message by message; the state of the algorithm, which keeps sums and counts, is not looked at. Where a schedule looks at
what is sent, it is drawn anew from what was recorded of each run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import base, crashes, delays, drops
from elastic_jax.base import Algorithm
from proofs_check import cases, trajectory
from proofs_check.cases import Case


def can_crash(algorithm: Algorithm) -> bool:
    """Its workers may die."""
    return "crashes" in cases.declared(algorithm)


def can_drop(algorithm: Algorithm) -> bool:
    """Its rounds may drop messages, which are sent again or not."""
    return "piggyback" in cases.declared(algorithm)


def can_be_late(algorithm: Algorithm) -> bool:
    """Its messages are on their way for some steps, over channels that keep their order or not."""
    return "fifo" in cases.declared(algorithm)


def can_go_on(algorithm: Algorithm) -> bool:
    """Its workers go on before all messages of a round have come."""
    barrier = cases.declared(algorithm).get("barrier")
    return barrier is not None and barrier.over == "workers"


def are_known(algorithm: Algorithm) -> bool:
    """Views lack whole messages, and which is known from the schedule."""
    return any(each(algorithm) for each in (can_crash, can_drop, can_be_late, can_go_on))


def is_substituted(algorithm: Algorithm) -> bool:
    """Workers use their own messages in the place of those that are missing."""
    return are_known(algorithm) and cases.declared(algorithm)["substitute"]


def is_compressed(algorithm: Algorithm) -> bool:
    """Messages are compressed: they are not what was generated."""
    compressor = cases.declared(algorithm).get("compressor")
    return compressor is not None and compressor.contraction_factor(jnp.zeros(4)) != 1.0


def most(algorithm: Algorithm) -> int | None:
    """K: how many messages can be missing from a view, from what the algorithm declares; None if there is no limit."""
    bound, others = cases.declared(algorithm), algorithm.num_workers - 1
    if can_crash(algorithm):
        return int(bound["crashes"].max_crashes)
    if can_go_on(algorithm):
        return others
    if can_be_late(algorithm):
        can_lose = bound["drops"].max_consecutive != 0
        lost = bound["max_lost"] if can_lose else 0
        return None if lost is None else others * bound["delays"].max_delay + lost
    in_a_row = bound["drops"].max_consecutive
    limits = [bound["max_missing"], others * in_a_row if bound["piggyback"] and in_a_row is not None else None]
    return min((limit for limit in limits if limit is not None), default=None)


def of(case: Case) -> np.ndarray:
    """bool[S or 1, T, n, T, n]: at [run, t, i, s, j] whether the view of i in step t lacks what j generated in step s.

    One row for all runs, where the schedule is the same in all.
    """
    run, bound = case.trajectory, cases.declared(case.algorithm)
    n, key = case.algorithm.num_workers, trajectory.run_key(is_exact=run.is_exact)
    if can_crash(case.algorithm):
        recorded = _recorded(crashes.record, bound["crashes"], run.is_exact, run.num_steps, n)
        return after_crashes(recorded, is_substituted=bound["substitute"])[None]
    if can_go_on(case.algorithm):
        return np.array([after_barriers(received) for received in _received(case, key)])
    recorded = _recorded(drops.record, bound["drops"], run.is_exact, run.num_steps, n)
    if can_be_late(case.algorithm):
        is_lost = within_budget(~recorded, bound["max_lost"])
        return np.array([after_delays(drawn, is_lost, fifo=bound["fifo"]) for drawn in _delays(case, key)])
    return after_drops(recorded, bound)[None]


@functools.cache
def _recorded(record: Callable[..., np.ndarray], model: Any, is_exact: bool, num_steps: int, n: int) -> np.ndarray:
    """What a part drew in all runs of one kind: the same for every statement, and slow to compile."""
    return record(model, trajectory.run_key(is_exact=is_exact), num_steps=num_steps, num_workers=n)


def _delays(case: Case, key: jax.Array) -> np.ndarray:
    """int32[S or 1, T, n, n]."""
    run, model = case.trajectory, cases.declared(case.algorithm)["delays"]
    n = case.algorithm.num_workers
    if not model.is_adaptive:
        return _recorded(delays.record, model, run.is_exact, run.num_steps, n)[None]
    with jax.enable_x64(True):
        sizes = jnp.sqrt(jnp.asarray(trajectory.norms_sq(run.updates)))
        over_runs = jax.vmap(jax.vmap(model.draw_pairs), (None, None, 0))
        steps, keys = jnp.arange(run.num_steps, dtype=jnp.int32), schedule_keys(key, run.num_steps)
        return np.asarray(jax.jit(over_runs, compiler_options=trajectory.QUICKLY)(keys, steps, sizes))


def _received(case: Case, key: jax.Array) -> np.ndarray:
    """bool[S or 1, T, n, n]: what each worker has when its barrier opens."""
    run, barrier = case.trajectory, cases.declared(case.algorithm)["barrier"]
    with jax.enable_x64(True):
        updates = jnp.asarray(run.updates if barrier.is_adaptive else run.updates[:1])
        steps, keys = jnp.arange(run.num_steps, dtype=jnp.int32), schedule_keys(key, run.num_steps)
        over_steps = jax.vmap(barrier.received)
        over_runs = jax.jit(jax.vmap(over_steps, (None, None, 0)), compiler_options=trajectory.QUICKLY)
        return np.asarray(over_runs(keys, steps, updates))


@functools.partial(jax.jit, static_argnums=1, compiler_options=trajectory.QUICKLY)
def schedule_keys(key: jax.Array, num_steps: int) -> jax.Array:
    """key[T]: of the schedule in each step."""
    steps = jnp.arange(num_steps, dtype=jnp.int32)
    return jax.vmap(lambda step: base.split_key(base.step_key(key, step)).schedule)(steps)


def within_budget(is_lost: np.ndarray, budget: int | None) -> np.ndarray:
    """What is lost of bool[T, n receiver, n sender] while a receiver may still lose some, message by message."""
    found, num_left = np.zeros_like(is_lost), [budget] * is_lost.shape[1]
    for s, i, j in zip(*np.nonzero(is_lost), strict=True):
        left = num_left[i]
        if left is None or left > 0:
            found[s, i, j] = True
            num_left[i] = None if left is None else left - 1
    return found


def after_delays(drawn: np.ndarray, is_lost: np.ndarray, *, fifo: bool) -> np.ndarray:
    """The messages missing where that of step s is due at s + 1 + delay, in its channel's order, or never comes.

    Args:
        drawn: int[T, n receiver, n sender], steps.
        is_lost: bool[T, n, n].
        fifo: a message waits for those sent before it.
    """
    num_steps, n, _ = drawn.shape
    missing, due_before = np.zeros((num_steps, n, num_steps, n), bool), np.zeros((n, n))
    for s in range(num_steps):
        for i, j in np.ndindex(n, n):
            due = s + 1 + drawn[s, i, j]
            if fifo:
                due = max(due, due_before[i, j])
            if is_lost[s, i, j]:
                due = np.inf
            else:
                due_before[i, j] = due
            for t in range(s + 1, num_steps):
                missing[t, i, s, j] = t < due
    return missing


def after_barriers(received: np.ndarray) -> np.ndarray:
    """The messages missing where a view lacks what had not come in the round before it: bool[T, n, n]."""
    num_steps, n, _ = received.shape
    missing = np.zeros((num_steps, n, num_steps, n), bool)
    for t in range(1, num_steps):
        missing[t, :, t - 1, :] = ~received[t - 1]
    return missing


def after_crashes(hears: np.ndarray, *, is_substituted: bool) -> np.ndarray:
    """The messages missing, by `crashes.record`'s bool[T, n receiver, n sender]; none from the slot of a dead worker.

    Without substitution a message that no survivor has heard counts as never generated.
    """
    num_steps, n, _ = hears.shape
    lost, found = np.zeros((n, num_steps, n), bool), []
    alive = set(range(n))
    for s in range(num_steps):
        found.append(lost * np.isin(np.arange(n), list(alive))[:, None, None])
        dying = {j for j in alive if not hears[s, j, j]}
        alive -= dying
        for j in dying:
            hearers = {i for i in alive if hears[s, i, j]}
            if hearers or is_substituted:
                lost[list(alive - hearers), s, j] = True
    return np.array(found)


def after_drops(delivered: np.ndarray, bound: Mapping[str, Any]) -> np.ndarray:
    """The messages missing, by `drops.record`'s bool[T, n receiver, n sender] and what the algorithm declares."""
    num_steps, n, _ = delivered.shape
    missing, found = np.zeros((n, num_steps, n), bool), []
    for s in range(num_steps):
        found.append(missing.copy())
        for i in range(n):
            num_left = bound["max_missing"]
            if num_left is not None and not bound["piggyback"]:
                num_left -= missing[i].sum()
            for j in np.flatnonzero(~delivered[s, i]):
                num_more = 1 + missing[i, :, j].sum() if bound["piggyback"] else 1
                if num_left is not None:
                    num_left -= num_more
                if num_left is None or num_left >= 0:
                    missing[i, s, j] = True
                elif bound["piggyback"]:
                    missing[i, :, j] = False
            if bound["piggyback"]:
                missing[i, :, delivered[s, i]] = False
    return np.array(found)


def total(missing: np.ndarray, messages: np.ndarray, *, is_substituted: bool) -> np.ndarray:
    """(1/n) Σ over the missing (s, j) of m_s^j, with substitution of m_s^j - m_s^i.

    Args:
        missing: bool[S or 1, T, n, T, n].
        messages: float[S, T, n, d].
        is_substituted: whether a worker's own message of step s stands in.

    Returns:
        float[S, T, n, d].
    """
    n, runs = missing.shape[2], messages.shape[0]
    weights = np.broadcast_to(missing, (runs, *missing.shape[1:])) if len(missing) > 1 else missing[0]
    axes = "rtisj" if len(missing) > 1 else "tisj"
    others = np.einsum(f"{axes},rsjd->rtid", weights.astype(float), messages, optimize=True)
    if is_substituted:
        counts = weights.sum(axis=-1).astype(float)
        others -= np.einsum(f"{axes[:-1]},rsid->rtid", counts, messages, optimize=True)
    return others / n
