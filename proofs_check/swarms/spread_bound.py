"""SW:E1. How far apart workers are kept while they take steps.

Setting
    Workers that meet in pairs along the edges of a graph, one edge at a time, blocking; H steps each before a meeting,
    or a geometric number h of them with mean H; E‖g‖² <= M². r is the largest degree, m the number of edges, λ₂ that of
    the Laplacian, p = λ₂/(2 m). Here all gradients push along the slowest direction of the graph.

Statement (SW:E1, upper bounds, for all meetings, on average over schedules and samples)
    fixed point:    E Γ <= ((b + (b² + 4 p c)^½)/(2 p))², b = 2 α h M (2 r/m)^½, c = (2 - 4/n) (α h M)², where h² is
                    H², or E h² = 2 H² - H;
    closed form:    E Γ <= (16 r²/λ₂² + 4 r/λ₂) n (α h M)²                              if all degrees are r;
    of the paper:   E Γ <= (80 r²/λ₂² + 40 r/λ₂) n (α H M)²                             if all degrees are r.

Why
    SW:I1 with E ½ ‖D_i - D_j‖² >= p Γ, E‖D_i + D_j‖² <= (2 r/m) Γ, E‖U^i + U^j‖² <= (2 α h M)² and Cauchy-Schwarz: G =
    (E Γ)^½ has G'² <= (1 - p) G² + b G + c, which stays below its larger fixed point. With b G <= p G²/2 + b²/(2 p)
    that is at most b²/p² + 2 c/p, and for m = r n/2 the closed form. The paper's constants are larger than those for
    all graphs, fixed numbers and geometric ones alike: 80 >= 2 · 16, 40 >= 2 · 4 and h² <= 2 H².

Source
    Nadiradze, Sabour, Davies, Li, Alistarh, NeurIPS 2021, arXiv 1910.12308, its lemma on Γ; the first two proved above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from elastic_jax import topologies
from elastic_jax.topologies import Topology
from proofs_check import cases, record, statistics
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.swarms import planted, turns
from proofs_check.swarms.turns import Case

ID = "SW:E1"
NUM_WORKERS = 6
NUM_SEEDS = 200
NUM_STEPS = 160


class Setting(NamedTuple):
    """Who may meet, after how many steps."""

    topology: Topology
    local_steps: int
    distribution: str = "fixed"

    @property
    def degree(self) -> float:
        """R."""
        return float(topologies.degrees(self.topology).max())

    @property
    def gap(self) -> float:
        """λ₂ of the Laplacian."""
        return topologies.laplacian_lambda_2(self.topology)

    @property
    def moved_sq(self) -> float:
        """(α h M)², M = 1."""
        h = self.local_steps
        return turns.STEP_SIZE**2 * (h**2 if self.distribution == "fixed" else 2 * h**2 - h)


SETTINGS: Mapping[str, Setting] = {
    "two steps on a complete graph": Setting(topologies.complete(NUM_WORKERS), 2),
    "one step on a ring": Setting(topologies.ring(NUM_WORKERS), 1),
    "geometric on a complete graph": Setting(topologies.complete(NUM_WORKERS), 3, "geometric"),
    "three steps on a star": Setting(topologies.star(NUM_WORKERS), 3),
}


def check() -> list[Check]:
    """Graphs, numbers of steps, and both of their distributions."""
    return [one for label in cases.few(SETTINGS, number=1) for one in _judge(label)]


def control() -> list[Check]:
    """Nobody ever meets; more steps than are declared; a gap that is none of the Laplacian's."""
    plain, geometric = "two steps on a complete graph", "geometric on a complete graph"
    mixed_up = partial(_fixed_point, gap=_gap_of_mixing)
    return [
        record.planted(
            _judge(plain, plant=planted.never_meeting, forms=("fixed point",))[0], "those who meet keep what they have"
        ),
        record.planted(
            _judge(geometric, plant=partial(planted.more_steps, factor=2), forms=("steps",))[0],
            "geometric numbers of steps with twice the mean",
        ),
        record.planted(
            _judge(plain, forms=("fixed point",), bound=mixed_up)[0], "n (1 - λ₂ of W) r in the place of λ₂"
        ),
    ]


FORMS = ("fixed point", "closed form", "of the paper", "steps")


def _judge(
    label: str,
    *,
    plant: planted.Plant = lambda given: given,
    forms: tuple[str, ...] = FORMS,
    bound: Callable[[Setting], float] | None = None,
) -> list[Check]:
    setting, case = SETTINGS[label], _case(label, plant)
    bounds = {"fixed point": bound or _fixed_point, "closed form": _closed_form, "of the paper": _of_the_paper}
    found = []
    for form in forms:
        if form == "steps":
            found.append(case.judge(ID, form, "equality", [], partial(_steps, setting=setting)))
            continue
        assumed = [turns.is_blocking(case), turns.is_exact(case), turns.is_one_edge(case)]
        assumed += [] if form == "fixed point" else [_is_regular(setting)]
        compare = partial(_at_most, bound=bounds[form](setting))
        found.append(case.judge(ID, form, "upper", assumed, compare))
    return found


def _case(label: str, plant: planted.Plant) -> Case:
    """Workers that are pushed apart along the slowest direction of the graph, each by 1."""
    name, build = next(turns.builds())
    setting = SETTINGS[label]
    algorithm = plant(build(turns.pushes, num_workers=NUM_WORKERS, step_size=turns.STEP_SIZE, **setting._asdict()))
    data = np.where(turns.slowest(setting.topology) >= 0, 1.0, -1.0)
    run = turns.run(algorithm, data, num_steps=NUM_STEPS, num_seeds=NUM_SEEDS)
    return Case(f"{name}, {label}, {NUM_SEEDS} seeds", algorithm, run)


def _is_regular(setting: Setting) -> Hypothesis:
    degrees = topologies.degrees(setting.topology)
    return Hypothesis(
        "all degrees are equal", bool(degrees.min() == degrees.max()), f"{degrees.min()}, {degrees.max()}"
    )


def _gap(setting: Setting) -> float:
    return setting.gap


def _gap_of_mixing(setting: Setting) -> float:
    """Not λ₂ of the Laplacian: what it would be if W were I - (D - A)/(r n)."""
    eigenvalues = np.linalg.eigvalsh(setting.topology.mixing_matrix)
    return float(1 - eigenvalues[-2]) * setting.degree * NUM_WORKERS


def _fixed_point(setting: Setting, *, gap: Callable[[Setting], float] = _gap) -> float:
    m, n = len(topologies.edges(setting.topology)), NUM_WORKERS
    p = gap(setting) / (2 * m)
    b, c = 2 * math.sqrt(setting.moved_sq * 2 * setting.degree / m), (2 - 4 / n) * setting.moved_sq
    return ((b + math.sqrt(b**2 + 4 * p * c)) / (2 * p)) ** 2


def _closed_form(setting: Setting) -> float:
    r, gap = setting.degree, setting.gap
    return (16 * r**2 / gap**2 + 4 * r / gap) * NUM_WORKERS * setting.moved_sq


def _of_the_paper(setting: Setting) -> float:
    r, gap = setting.degree, setting.gap
    return (80 * r**2 / gap**2 + 40 * r / gap) * NUM_WORKERS * (turns.STEP_SIZE * setting.local_steps) ** 2


def _at_most(case: Case, *, bound: float) -> Comparison:
    spread = turns.spread(case.turns.after)
    return statistics.at_most(spread, np.full(spread.shape, bound), is_exact=False, axes=("t",))


def _steps(case: Case, *, setting: Setting) -> Comparison:
    """Of those who meet, the mean number and the mean of its square, over all turns of a run."""
    run, h = case.turns, setting.local_steps
    is_met = run.partners != np.arange(NUM_WORKERS)
    number = is_met.sum(axis=(1, 2))
    found = [np.where(is_met, run.num_steps**power, 0).sum(axis=(1, 2)) / number for power in (1, 2)]
    square = h**2 if setting.distribution == "fixed" else 2 * h**2 - h
    return statistics.same_mean(np.stack(found, axis=1), np.array([h, square], float)[None], axes=("power",))
