"""Confidence bands over seeds: of a mean, of a root mean square, and of a slope in logarithms.

The seeds are independent runs, so a mean over them has the band of Student's t. A slope is no mean: its band comes
from leaving out one seed at a time (the jackknife), which also counts that the points of one seed may depend on each
other.
"""

from __future__ import annotations

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


def of_mean(values: np.ndarray) -> Band:
    """The mean over seeds, the first axis: [S, ...] -> [...]. One seed has no band: its ends are NaN."""
    values = np.asarray(values, np.float64)
    num_seeds = len(values)
    if num_seeds < 2:
        return Band(values.mean(axis=0), *(np.full(values.shape[1:], np.nan),) * 2)
    middle, half = values.mean(axis=0), _quantile(num_seeds) * values.std(axis=0, ddof=1) / num_seeds**0.5
    return Band(middle, middle - half, middle + half)


def of_root_mean(squares: np.ndarray) -> Band:
    """The root of the mean over seeds of squares: [S, ...] -> [...]."""
    return Band(*(np.sqrt(np.maximum(end, 0.0)) for end in of_mean(squares)))


def of_slope(positions: np.ndarray, values: np.ndarray) -> Band:
    """The slope of log(mean over seeds of values) against log(positions), by least squares.

    Args:
        positions: [m], > 0, m >= 2.
        values: [S, m], whose means over any S - 1 seeds are > 0.
    """
    values = np.asarray(values, np.float64)
    num_seeds, whole = len(values), _slope(positions, np.mean(values, axis=0))
    if num_seeds < 2:
        return Band(whole, np.asarray(np.nan), np.asarray(np.nan))
    without = np.array([_slope(positions, np.delete(values, seed, axis=0).mean(axis=0)) for seed in range(num_seeds)])
    error = np.sqrt((num_seeds - 1) / num_seeds * np.sum((without - without.mean()) ** 2))
    half = _quantile(num_seeds) * error
    return Band(whole, whole - half, whole + half)


def _quantile(num_seeds: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, num_seeds - 1))


def _slope(positions: np.ndarray, values: np.ndarray) -> np.ndarray:
    offsets = np.log(positions) - np.mean(np.log(positions))
    return np.asarray(offsets @ np.log(values) / (offsets @ offsets))
