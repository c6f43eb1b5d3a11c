"""Confidence bands over seeds: of a mean, of a root mean square, and of a slope in logarithms.

The seeds are independent runs, so a mean over them has the band of Student's t. What is no mean, or lives on a
logarithmic axis, has its band from leaving out one seed at a time (the jackknife), which also counts that the points of
one seed may depend on each other.

Where one estimate out of many is looked at because it is the largest, or many are judged at once, the bands have to be
`simultaneous`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
"""How sure a band is."""


class Band(NamedTuple):
    """An estimate with the two ends of its band, arrays of one shape."""

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def simultaneous(num_bands: int) -> float:
    """The level of each of so many bands for all of them to hold together with `LEVEL` (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(num_bands, 1)


def of_mean(values: np.ndarray, level: float = LEVEL) -> Band:
    """The mean over seeds, the first axis: [S, ...] -> [...]. One seed has no band: its ends are NaN."""
    values = np.asarray(values, np.float64)
    num_seeds = len(values)
    if num_seeds < 2:
        return Band(values.mean(axis=0), *(np.full(values.shape[1:], np.nan),) * 2)
    middle, half = values.mean(axis=0), _quantile(num_seeds, level) * values.std(axis=0, ddof=1) / num_seeds**0.5
    return Band(middle, middle - half, middle + half)


def of_root_mean(squares: np.ndarray, level: float = LEVEL) -> Band:
    """The root of the mean over seeds of squares: [S, ...] -> [...].

    The band is one of the logarithm, so that it is as wide as it looks on a logarithmic axis; where a single seed has
    all there is, it goes down to 0.
    """
    squares = np.asarray(squares, np.float64)
    num_seeds, plain = len(squares), of_mean(squares, level)
    if num_seeds < 2:
        return Band(*map(np.sqrt, plain))
    without = (squares.sum(axis=0) - squares) / (num_seeds - 1)
    is_positive = np.all(without > 0, axis=0)
    logarithms = np.log(np.where(is_positive, without, 1.0))
    error = np.sqrt((num_seeds - 1) / num_seeds * np.sum((logarithms - logarithms.mean(axis=0)) ** 2, axis=0))
    factor = np.exp(_quantile(num_seeds, level) * error)
    low = np.where(is_positive, plain.middle / factor, 0.0)
    high = np.where(is_positive, plain.middle * factor, plain.high)
    return Band(np.sqrt(plain.middle), np.sqrt(low), np.sqrt(high))


def of_positive(statistic: Callable[[np.ndarray], float], values: np.ndarray, level: float = LEVEL) -> Band:
    """A positive number made of means over seeds, statistic([...]) of values [S, ...]; the band is one of its log."""
    values = np.asarray(values, np.float64)
    num_seeds, whole = len(values), np.asarray(statistic(values.mean(axis=0)))
    if num_seeds < 2:
        return Band(whole, np.asarray(np.nan), np.asarray(np.nan))
    logs = np.array([np.log(statistic(np.delete(values, seed, axis=0).mean(axis=0))) for seed in range(num_seeds)])
    error = np.sqrt((num_seeds - 1) / num_seeds * np.sum((logs - logs.mean()) ** 2))
    factor = np.exp(_quantile(num_seeds, level) * error)
    return Band(whole, whole / factor, whole * factor)


def of_slope(positions: np.ndarray, values: np.ndarray, level: float = LEVEL) -> Band:
    """The slope of log(mean over seeds of values) against log(positions), by least squares.

    Args:
        positions: [m], > 0, m >= 2.
        values: [S, m], whose means over any S - 1 seeds are > 0.
        level: how sure the band is.
    """
    return of_any(partial(_slope_of_means, positions=positions), values, level)


def of_any(statistic: Callable[[np.ndarray], float], values: np.ndarray, level: float = LEVEL) -> Band:
    """A number made of means over seeds, statistic([...]) of values [S, ...]."""
    values = np.asarray(values, np.float64)
    num_seeds, whole = len(values), np.asarray(statistic(values.mean(axis=0)))
    if num_seeds < 2:
        return Band(whole, np.asarray(np.nan), np.asarray(np.nan))
    without = np.array([statistic(np.delete(values, seed, axis=0).mean(axis=0)) for seed in range(num_seeds)])
    error = np.sqrt((num_seeds - 1) / num_seeds * np.sum((without - without.mean()) ** 2))
    half = _quantile(num_seeds, level) * error
    return Band(whole, whole - half, whole + half)


def slope(positions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The slope of log(values) against log(positions), by least squares: [m], [m] -> []."""
    offsets = np.log(positions) - np.mean(np.log(positions))
    return np.asarray(offsets @ np.log(values) / (offsets @ offsets))


def _slope_of_means(means: np.ndarray, *, positions: np.ndarray) -> float:
    return float(slope(positions, means))


def _quantile(num_seeds: int, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, num_seeds - 1))
