"""Is the mean of one quantity at most that of another? Paired over runs, at every step and worker at once.

Runs share one schedule and differ in their samples. Z = claimed - measured is formed within each run, so that
what both sides have in common cancels; the claim E Z >= 0 is rejected where mean(Z) < -z SE. With z = √(2
log(N / 0.01)) all N comparisons of one statement together reject a true one with probability below 1 %
(Bonferroni; the Gaussian tail is below exp(-z²/2)). Where the runs are all there are, the mean is the
expectation and only rounding is allowed for.

A constant of the claim (M, σ) must not be estimated from the runs that are tested: exact, certified, or other
seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-10
"""How much rounding may move a float64 result, relative to the largest number that entered it."""

CONFIDENCE = 0.01
"""The probability with which a true statement may be called violated, over all its comparisons."""


class Comparison(NamedTuple):
    """What came of a comparison."""

    measured: float | None
    claimed: float | None
    ratio: float | None
    where: str
    slack: float | None
    holds: bool
    is_vacuous: bool
    ratios: tuple[float | None, ...] = ()
    """measured / claimed at every step, the worst of its places; None where it cannot be told, () without steps."""


def band(num_tests: int, confidence: float = CONFIDENCE) -> float:
    """Z = √(2 log(num_tests / confidence)): how many standard errors are allowed for."""
    return float(np.sqrt(2 * np.log(num_tests / confidence)))


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis: [s, ...] -> [...]; infinite for fewer than two values."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.inf)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def at_most(
    measured: np.ndarray,
    claimed: np.ndarray | float,
    *,
    is_exact: bool,
    scale: float = 0.0,
    axes: Sequence[str] = ("t", "i"),
) -> Comparison:
    """E measured <= E claimed at every place.

    Args:
        measured: float[s, ...], one row for each run, one column for each place (step, worker).
        claimed: the same shape, or one number.
        is_exact: the rows are all the runs there are, equally likely; else a sample of them.
        scale: the largest number from which either side was formed by cancellation; rounding is relative to
            it.
        axes: names of the places' axes.
    """
    measured = np.asarray(measured, np.float64)
    claimed = np.broadcast_to(np.asarray(claimed, np.float64), measured.shape)
    places = measured.shape[1:]
    if not measured.size:
        return Comparison(None, None, None, "", None, True, True)
    if np.isposinf(claimed).all():
        return Comparison(float(np.max(measured)), float("inf"), 0.0, "", None, True, True)

    mean_measured, mean_claimed = measured.mean(axis=0).ravel(), claimed.mean(axis=0).ravel()
    gap = claimed - measured
    mean_gap = gap.mean(axis=0).ravel()
    error = np.zeros_like(mean_gap) if is_exact else standard_error(gap).ravel()
    scale = max(scale, float(np.max(np.abs(mean_measured))), float(np.max(np.abs(mean_claimed))))
    rounding = ROUNDING * scale
    holds = bool(np.all(mean_gap >= -band(mean_gap.size) * error - rounding))

    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(np.abs(mean_claimed) > rounding, mean_measured / mean_claimed, -np.inf)
        slacks = np.where(error > 0, mean_gap / error, np.inf)
    is_told_apart = (np.abs(mean_claimed) > rounding) | (np.abs(mean_measured) > rounding)
    worst = int(np.argmax(ratios)) if holds else int(np.argmin(mean_gap + band(mean_gap.size) * error))
    slack = float(np.min(slacks))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(mean_measured[worst] / mean_claimed[worst]) if is_told_apart[worst] else None
    return Comparison(
        measured=float(mean_measured[worst]),
        claimed=float(mean_claimed[worst]),
        ratio=ratio,
        where=_place(worst, places, axes),
        slack=slack if np.isfinite(slack) else None,
        holds=holds,
        is_vacuous=not bool(is_told_apart.any()),
        ratios=_by_step(ratios, places, axes),
    )


def equal(
    left: np.ndarray, right: np.ndarray, *, scale: float = 0.0, axes: Sequence[str] = ("s", "t", "i")
) -> Comparison:
    """Left == right up to rounding, in every run and at every place: no statistics.

    Args:
        left: float[...].
        right: float[...], the same shape.
        scale: as in `at_most`; 0 means the largest entry of both sides.
        axes: names of the axes.

    Returns:
        A comparison of the largest residual with `ROUNDING` · scale. It is vacuous if both sides are zero
        throughout.
    """
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if not left.size:
        return Comparison(None, None, None, "", None, True, True)
    largest = max(float(np.max(np.abs(left))), float(np.max(np.abs(right))))
    allowed = ROUNDING * max(scale, largest)
    residuals = np.abs(left - right)
    worst = int(np.argmax(residuals))  # the position of a NaN, if there is one
    residual = float(residuals.ravel()[worst])
    return Comparison(
        measured=residual,
        claimed=allowed,
        ratio=residual / allowed if allowed else None,
        where=_place(worst, left.shape, axes),
        slack=None,
        holds=bool(residual <= allowed),
        is_vacuous=largest <= ROUNDING * scale,
        ratios=_by_step(residuals / allowed, left.shape, axes) if allowed else (),
    )


def same_mean(
    left: np.ndarray, right: np.ndarray | float, *, scale: float = 0.0, axes: Sequence[str] = ("t", "i")
) -> Comparison:
    """E left = E right at every place, from a sample of runs; the difference is formed within each run.

    Args:
        left: float[s, ...], one row for each run, one column for each place.
        right: the same shape, or one that broadcasts to it.
        scale: as in `at_most`; 0 means the largest mean of both sides.
        axes: names of the places' axes.

    Returns:
        A comparison of the largest difference of means with what statistical error and rounding explain there.
    """
    left = np.asarray(left, np.float64)
    right = np.broadcast_to(np.asarray(right, np.float64), left.shape)
    if not left.size:
        return Comparison(None, None, None, "", None, True, True)
    difference = np.abs((left - right).mean(axis=0)).ravel()
    error = standard_error(left - right).ravel()
    largest = float(max(np.abs(left.mean(axis=0)).max(), np.abs(right.mean(axis=0)).max()))
    rounding = ROUNDING * max(scale, largest)
    allowed = band(difference.size) * error + rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(allowed > 0, difference / allowed, 0.0)
        errors = np.where(error > rounding, difference / error, 0.0)
    worst = int(np.argmax(ratios))
    return Comparison(
        measured=float(difference[worst]),
        claimed=float(allowed[worst]),
        ratio=float(ratios[worst]),
        where=_place(worst, left.shape[1:], axes),
        slack=-float(np.max(errors)),
        holds=bool(np.all(difference <= allowed)),
        is_vacuous=largest <= ROUNDING * scale or bool(np.isinf(allowed).all()),
        ratios=_by_step(ratios, left.shape[1:], axes),
    )


def _by_step(ratios: np.ndarray, shape: tuple[int, ...], axes: Sequence[str]) -> tuple[float | None, ...]:
    """The largest of the ratios at each entry of the axis "t", to four digits; None where none can be told."""
    named = tuple(axes)[: len(shape)]
    if "t" not in named:
        return ()
    by_step = np.moveaxis(ratios.reshape(shape), named.index("t"), 0)
    largest = by_step.reshape(len(by_step), -1).max(axis=1)
    return tuple(float(f"{value:.4g}") if np.isfinite(value) else None for value in largest)


def _place(flat: int, shape: tuple[int, ...], axes: Sequence[str]) -> str:
    """Names the entry number `flat` of an array: "t = 3, i = 1"; axes without a name are not told."""
    position = np.unravel_index(flat, shape) if shape else ()
    return ", ".join(f"{axis} = {index}" for axis, index in zip(axes, position, strict=False))
