"""Which messages are missing from which view, worked out from the record of a schedule and nothing else.

A message (s, j) is what worker j generated in step s. The sets follow the rules of crashes and of drops message by
message; the state of the algorithm, which keeps sums and counts, is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from elastic_jax import crashes, drops
from elastic_jax.base import Algorithm
from proofs_check import cases, trajectory
from proofs_check.cases import Case


def can_crash(algorithm: Algorithm) -> bool:
    """Its workers may die."""
    return "crashes" in cases.declared(algorithm)


def can_drop(algorithm: Algorithm) -> bool:
    """Its channels may drop messages, which are sent again or lost, and are late for no other reason."""
    return {"drops", "piggyback"} <= cases.declared(algorithm).keys()


def is_substituted(algorithm: Algorithm) -> bool:
    """Workers use their own updates in the place of those that are missing."""
    return (can_crash(algorithm) or can_drop(algorithm)) and cases.declared(algorithm)["substitute"]


def most(algorithm: Algorithm) -> int | None:
    """K: how many messages can be missing from a view, from what the algorithm declares; None if there is no limit."""
    bound, others = cases.declared(algorithm), algorithm.num_workers - 1
    if "crashes" in bound:
        return int(bound["crashes"].max_crashes)
    in_a_row = bound["drops"].max_consecutive
    limits = [bound["max_missing"], others * in_a_row if bound["piggyback"] and in_a_row is not None else None]
    return min((limit for limit in limits if limit is not None), default=None)


def of(case: Case) -> np.ndarray:
    """bool[T, n, T, n]: at [t, i, s, j] whether the view of i in step t lacks what j generated in step s."""
    run, bound = case.trajectory, cases.declared(case.algorithm)
    n, key = case.algorithm.num_workers, trajectory.run_key(is_exact=run.is_exact)
    if "crashes" in bound:
        recorded = crashes.record(bound["crashes"], key, num_steps=run.num_steps, num_workers=n)
        return after_crashes(recorded, is_substituted=bound["substitute"])
    recorded = drops.record(bound["drops"], key, num_steps=run.num_steps, num_workers=n)
    return after_drops(recorded, bound)


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


def total(missing: np.ndarray, updates: np.ndarray, *, is_substituted: bool) -> np.ndarray:
    """(1/n) Σ over the missing (s, j) of u_s^j, with substitution of u_s^j - u_s^i.

    Args:
        missing: bool[T, n, T, n].
        updates: float[S, T, n, d].
        is_substituted: whether a worker's own update of step s stands in.

    Returns:
        float[S, T, n, d].
    """
    n = missing.shape[1]
    others = np.einsum("tisj,rsjd->rtid", missing.astype(float), updates, optimize=True)
    if is_substituted:
        others -= np.einsum("tis,rsid->rtid", missing.sum(axis=3).astype(float), updates, optimize=True)
    return others / n
