"""SW:Q2. A quantised swarm of fine levels is the exact one.

Setting
    Workers that meet in pairs and exchange parameters through the lattice quantiser of cell s; nobody is farther apart
    than it allows for. Gradients do not look at their views, so that both swarms take the same steps. x̃^i is what the
    exact swarm has, K the number of turns so far.

Statement (SW:Q2)
    rows (upper):       ‖x^i - x̃^i‖_∞ <= K s/4                                          for every worker, in every run;
    means (equality):   E x = E x̃, over the shifts.

Why
    A meeting replaces x^i by (x^i + Q(x^j))/2, where Q(x^j) is off by at most s/2 in each number: by s/4 more than the
    average of both, which is no farther from that of the exact swarm than the larger of the two was. Where nobody
    meets, both move by the same steps. Each shift is uniform on a cell, so that Q is unbiased.

Source
    Nadiradze, Sabour, Davies, Li, Alistarh, NeurIPS 2021, arXiv 1910.12308, the quantised algorithm; proved above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax import Array

from elastic_jax import compressors
from elastic_jax.base import PyTree
from elastic_jax.compressors import Compressor
from proofs_check import cases, record, statistics
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.swarms import turns
from proofs_check.swarms.turns import Case

ID = "SW:Q2"
NUM_LEVELS = 2**10
DISTANCE = 2.0
NUM_SEEDS = 200
NUM_STEPS = 30
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "one edge after the other": {"local_steps": 1},
    "in parallel, two steps": {"local_steps": 2, "parallel": True},
    "lagged": {"mode": "lagged"},
}


def check() -> list[Check]:
    """Forms of a swarm."""
    return [one for label in cases.few(SETTINGS, number=1) for one in _judge(label)]


def control() -> list[Check]:
    """A distance that is a hundred times too small; levels a hundred times as coarse as is claimed."""
    label = "one edge after the other"
    return [
        record.planted(_judge(label, distance=DISTANCE / 1000)[0], "a distance that is a thousand times too small"),
        record.planted(_judge(label, num_levels=NUM_LEVELS // 64)[0], "levels that are 64 times as coarse"),
        record.planted(_judge(label, num_levels=4, plant=_biased)[1], "the receiver adds a quarter of a cell"),
    ]


def _as_it_is(compressor: Compressor) -> Compressor:
    return compressor


def _biased(compressor: Compressor) -> Compressor:
    """Everything that is decoded is too large."""

    def decode(key: Array, code: PyTree, reference: PyTree) -> PyTree:
        return compressor.decode(key, code, reference) + 0.25 * 2 * DISTANCE / 3

    return compressor._replace(decode=decode)


def _judge(
    label: str,
    *,
    distance: float = DISTANCE,
    num_levels: int = NUM_LEVELS,
    plant: Callable[[Compressor], Compressor] = _as_it_is,
) -> list[Check]:
    """The cell that is claimed is that of `DISTANCE` and `NUM_LEVELS`, whatever is used."""
    name, build = next(turns.builds())
    given: dict[str, Any] = {"num_workers": turns.NUM_WORKERS, "step_size": turns.STEP_SIZE, **SETTINGS[label]}
    quantizer = plant(compressors.lattice(num_levels, distance=distance))
    rounded, exact = build(turns.noisy_pushes, quantizer=quantizer, **given), build(turns.noisy_pushes, **given)
    data = turns.targets(turns.NUM_WORKERS)
    found, wanted = (turns.run(each, data, num_steps=NUM_STEPS, num_seeds=NUM_SEEDS) for each in (rounded, exact))
    case = Case(f"{name}, {label}, {NUM_SEEDS} seeds", rounded, found)
    far = np.abs(wanted.before[:, :, :, None] - wanted.before[:, :, None]).max()
    assumed = [Hypothesis("nobody is farther apart than the quantiser allows", bool(far < DISTANCE), f"{far:.3g}")]
    cell = 2 * DISTANCE / (NUM_LEVELS - 1)
    return [
        case.judge(ID, "rows", "upper", assumed, lambda _: _rows(found, wanted, cell)),
        case.judge(ID, "means", "equality", assumed, lambda _: _means(found, wanted)),
    ]


def _rows(found: turns.Turns, wanted: turns.Turns, cell: float) -> Comparison:
    off = np.abs(found.after - wanted.after).max(axis=3)
    number = np.arange(1, off.shape[1] + 1)[None, :, None]
    return statistics.at_most(off, np.broadcast_to(number * cell / 4, off.shape), is_exact=True, axes=("t", "i"))


def _means(found: turns.Turns, wanted: turns.Turns) -> Comparison:
    return statistics.same_mean(
        found.after.mean(axis=2), wanted.after.mean(axis=2), scale=found.scale, axes=("t", "coordinate")
    )
