"""The record that every statement returns: what was measured, what is claimed, and whether the claim applies.

A statement whose hypothesis fails is *skipped*, with the reason, and never passed. A comparison that could
not have failed (both sides zero, nothing measured, an infinite bound) is *vacuous*. Only what remains *holds*
or is *violated*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from elastic_jax import arguments
from proofs_check.statistics import Comparison

KINDS = ("equality", "upper", "lower", "tight")
"""equality: both sides agree to rounding. upper: measured <= claimed. lower: measured >= claimed.
tight: an upper bound that some setting of the statement attains."""

VERDICTS = ("holds", "violated", "vacuous", "skipped")


class Hypothesis(NamedTuple):
    """Something that a statement assumes, and whether it is so here."""

    name: str
    holds: bool
    detail: str = ""


class Check(NamedTuple):
    """One statement in one setting."""

    id: str
    """Number of the statement, such as "EC:T2.1"."""
    name: str
    """Which form of it, such as "per step"."""
    kind: str
    """One of `KINDS`."""
    setting: str
    """Variant, objective, and how expectations were taken."""
    hypotheses: tuple[Hypothesis, ...]
    measured: float | None
    """At the place where it comes closest to the claim; an equality has the largest residual here."""
    claimed: float | None
    """At the same place; an equality has the residual that rounding explains."""
    ratio: float | None
    """measured / claimed: 1 is attained, above 1 is violated up to the statistical band."""
    verdict: str
    """One of `VERDICTS`."""
    reason: str = ""
    """Why it was skipped or is vacuous."""
    where: str = ""
    """The step, and the worker, at which the ratio is largest."""
    slack: float | None = None
    """The smallest (claimed - measured) over all steps and workers in standard errors; None if exact."""
    seeds: int = 0
    """How many runs an expectation is the mean of."""
    is_exact: bool = False
    """True if these runs are all there are, so that expectations carry no statistical error."""
    steps: int = 0
    """T."""
    control_tripped: bool | None = None
    """Whether the bugs planted for this statement were noticed; None before they were tried."""
    ratios: tuple[float | None, ...] = ()
    """measured / claimed at every step, the worst worker; None where it cannot be told. A lower bound has the claim as
    a fraction of what is measured, an equality the residual as a fraction of rounding; () where there are no steps."""


def judge(
    id: str,
    name: str,
    kind: str,
    setting: str,
    hypotheses: Sequence[Hypothesis],
    compare: Callable[[], Comparison],
    *,
    seeds: int,
    is_exact: bool,
    steps: int,
) -> Check:
    """The record of one statement in one setting.

    Args:
        id: number of the statement.
        name: which form of it.
        kind: one of `KINDS`.
        setting: where it is tried.
        hypotheses: all of them; if one fails, `compare` is not called.
        compare: measures both sides.
        seeds: number of runs, >= 1.
        is_exact: whether the runs are all there are.
        steps: T.
    """
    arguments.one_of("kind", kind, KINDS)
    hypotheses = tuple(Hypothesis(h.name, bool(h.holds), h.detail) for h in hypotheses)
    failed = [h for h in hypotheses if not h.holds]
    check = Check(
        id,
        name,
        kind,
        setting,
        hypotheses,
        None,
        None,
        None,
        "skipped",
        seeds=seeds,
        is_exact=is_exact,
        steps=steps,
    )
    if failed:
        return check._replace(reason="; ".join(f"not {h.name} ({h.detail})" for h in failed))
    found = compare()
    verdict = "violated" if not found.holds else "vacuous" if found.is_vacuous else "holds"
    return check._replace(
        measured=found.measured,
        claimed=found.claimed,
        ratio=found.ratio,
        verdict=verdict,
        where=found.where,
        slack=found.slack,
        ratios=found.ratios,
        reason="both sides are zero or the bound is infinite" if verdict == "vacuous" else "",
    )


def skip(id: str, name: str, kind: str, setting: str, reason: str) -> Check:
    """The record of a setting in which the statement could not be tried at all."""
    failed = Hypothesis("applicable", False, reason)
    return Check(id, name, kind, setting, (failed,), None, None, None, "skipped", reason)


def planted(check: Check, bug: str, *, expected: str = "violated") -> Check:
    """The record of a control: `check` was run with `bug` planted, and trips if its verdict is `expected`."""
    arguments.one_of("expected", expected, VERDICTS)
    return check._replace(setting=f"planted: {bug}", control_tripped=check.verdict == expected)


def as_json(check: Check) -> dict[str, Any]:
    """The record as plain data; numbers that JSON has no word for are written as strings.

    The `ratios` of an equality are noise of rounding, and left out.
    """
    plain = check._asdict() | ({"ratios": ()} if check.kind == "equality" else {})
    plain["hypotheses"] = [h._asdict() for h in check.hypotheses]
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in plain.items()
    }
