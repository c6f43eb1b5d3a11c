"""Ways of spending one budget of bits: each worker sends the parameters once in H steps, in the mean.

Who sends them to m others in a mixing mixes every m H steps. What an averaging of all costs depends on who does it, so
that local SGD has two periods:

    upload         each sends its parameters once, to a server: H. What the server sends is not counted.
    all-reduce     a ring all-reduce, in which each sends 2 (n - 1) / n of them: 2 (n - 1) / n H

An all-reduce counts 2 (n - 1) / n times the bits that `Info` has, which are those of an upload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from elastic_jax import base, mixings, topologies
from elastic_jax.algorithms import gossip_sgd, local_sgd
from experiments import bands, changing_floors, ways_of_mixing
from experiments.answer import Claim

UPLOAD, ALL_REDUCE = LOCAL = ("upload", "all-reduce")

MEAN, WORKERS, APART = range(3)
MEASURED = {MEAN: "loss at x", WORKERS: "loss at workers", APART: "distance"}
"""What is measured of all ways: on quadratics f less its minimum, at x and in the mean at the workers, and
(1/n) Σ_i ‖x^i - x‖²."""
TICKS = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Of ratios, on logarithmic axes."""
EQUAL = 1e-3
"""How far losses at the same x may differ by rounding, and bits of one budget by what the last period leaves over."""


def _on(name: str, num_workers: int) -> mixings.Mixing:
    return mixings.constant(ways_of_mixing.topology(name, num_workers))


def _on_ring(num_workers: int) -> mixings.Mixing:
    return _on("ring", num_workers)


def _on_torus(num_workers: int) -> mixings.Mixing:
    return _on("torus", num_workers)


def _on_star(num_workers: int) -> mixings.Mixing:
    return _on("star", num_workers)


def _matchings(num_workers: int) -> mixings.Mixing:
    return mixings.matchings(topologies.complete(num_workers))


def _matcha(num_workers: int) -> mixings.Mixing:
    """Half the edges of a ring; both of its matchings matter alike, so that nothing is to be optimised."""
    return mixings.matcha(topologies.ring(num_workers), 0.5, optimal=False)


KINDS: Mapping[str, Callable[[int], mixings.Mixing]] = {
    UPLOAD: mixings.average,
    ALL_REDUCE: mixings.average,
    "ring": _on_ring,
    "torus": _on_torus,
    "star": _on_star,
    "exponential": mixings.exponential,
    "one-peer": mixings.one_peer_exponential,
    "matchings": _matchings,
    "MATCHA": _matcha,
}


def factor(kind: str, num_workers: int) -> float:
    """What is counted for a bit that `Info` reports."""
    return 2 * (num_workers - 1) / num_workers if kind == ALL_REDUCE else 1.0


def period(kind: str, budget: int, num_workers: int) -> int:
    """Of the way that sends the parameters once in `budget` steps, H; a multiple of n / 2 makes it exact."""
    if kind in LOCAL:
        return round(budget * factor(kind, num_workers))
    return round(budget * changing_floors.num_messages(changing_floors.draws(KINDS[kind](num_workers))))


def build(kind: str, oracle: base.Oracle, *, budget: int, num_workers: int, step_size: float) -> base.Algorithm:
    """The algorithm."""
    own = period(kind, budget, num_workers)
    if kind in LOCAL:
        return local_sgd.build(oracle, num_workers=num_workers, step_size=step_size, period=own)
    mixing = KINDS[kind](num_workers)
    return gossip_sgd.build(oracle, num_workers=num_workers, step_size=step_size, mixing=mixing, period=own)


def share(kind: str, copies: np.ndarray, *, budget: int, num_steps: int) -> np.ndarray:
    """What workers sent over what they may: [S, n], of copies of the parameters as `Info` counts them."""
    return np.asarray(copies * factor(kind, copies.shape[-1]) * budget / num_steps)


def sent(copies: np.ndarray) -> tuple[float, float]:
    """Of the budget, by a worker in the mean and by the busiest: [S, n]."""
    return float(copies.mean()), float(copies.mean(axis=0).max())


def bits_claim(name: str, copies: list[np.ndarray]) -> Claim:
    """The mean over workers of what they send in H steps is one copy of the parameters, [S, n] for each way."""
    means = np.stack([own.mean(axis=1) for own in copies], axis=1)
    return ratio_claim(f"{name}: bits that a worker sends / those it may", means, EQUAL)


def ratio_claim(name: str, ratios: np.ndarray, tolerance: float) -> Claim:
    """All ratios, [S, m], are 1."""
    ratio = bands.of_mean(ratios, bands.simultaneous(ratios.shape[1]))
    worst = int(np.abs(ratio.middle - 1).argmax())
    return Claim.of_band(
        f"{name}, farthest from 1",
        f"1, within {tolerance:g} of the simultaneous bands",
        [float(end[worst]) for end in ratio],
        holds=np.all((ratio.low - tolerance <= 1) & (ratio.high + tolerance >= 1)),
    )
