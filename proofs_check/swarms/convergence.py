"""SW:T1. How fast the gradient at the mean of a swarm becomes small.

Setting
    Workers that meet in pairs along the edges of a graph of n workers, all of degree r, one edge at a time, blocking, H
    steps each before a meeting. The f_i have L-Lipschitz gradients, and may differ; E‖g‖² <= M²; f >= f*. T meetings,
    x_t the mean before each.

Statement (SW:T1)
    Γ measured (upper):     (1/T) Σ_t E‖∇f(x_t)‖² <= n (f(x_0) - f*)/(α H T) + (2 L²/n) (1/T) Σ_t E Γ_t
                                                     + 2 α² H² M² L² + 2 α L H M²/n,
    closed form (upper):    (1/T) Σ_t E‖∇f(x_t)‖² <= n (f(x_0) - f*)/(α H T) + α² H² M² L² (32 r²/λ₂² + 8 r/λ₂ + 2)
                                                     + 2 α L H M²/n.

Why
    A turn moves x by -(α/n)(h_i + h_j), h_i the sum of H gradients. By the descent lemma f falls by at least
    (α/n) E⟨∇f(x), h_i + h_j⟩ less (L/2)(α/n)² (2 H M)². Each worker is an end of r of the r n/2 edges, so that the
    expectation of the sum is (2/n) Σ_i E h_i; each gradient is ∇f_i at a point y whose distance to x has a square of at
    most 2 ‖D_i‖² + 2 α² H² M², and 2 ⟨∇f(x), ∇f_i(y) - ∇f_i(x)⟩ >= -‖∇f(x)‖² - L² ‖y - x‖². The rest is a telescoping
    sum, and the closed form of SW:E1.

Source
    Nadiradze, Sabour, Davies, Li, Alistarh, NeurIPS 2021, arXiv 1910.12308, its theorem for bounded second moments,
    whose constants are larger; proved above.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.optimize

from elastic_jax import topologies
from proofs_check import cases, record, statistics
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.swarms import planted, turns
from proofs_check.swarms.turns import Case
from proofs_check.trajectory import norms_sq

ID = "SW:T1"
NUM_SEEDS = 40
NUM_TURNS = 1500
STEP_SIZE = 0.1
START = 4.0
"""Every number of x_0: the gradients are at their largest there."""
SETTINGS = {
    "a complete graph, one step": (topologies.complete, 1),
    "a ring, two steps": (topologies.ring, 2),
}


def check() -> list[Check]:
    """Different workers, gradients that are bounded and noisy."""
    return [one for label in cases.few(SETTINGS, number=1) for one in _judge(label)]


def control() -> list[Check]:
    """Steps that go up."""
    label = "a complete graph, one step"
    return [record.planted(one, "steps of the wrong sign") for one in _judge(label, plant=planted.uphill)]


def _judge(label: str, *, plant: planted.Plant = lambda given: given) -> list[Check]:
    make, local_steps = SETTINGS[label]
    topology = make(turns.NUM_WORKERS)
    name, build = next(turns.builds())
    algorithm = plant(
        build(
            turns.bounded_grads,
            num_workers=turns.NUM_WORKERS,
            step_size=STEP_SIZE,
            topology=topology,
            local_steps=local_steps,
        )
    )
    start = np.full((turns.NUM_WORKERS, turns.DIM), START)
    data = turns.targets(turns.NUM_WORKERS)
    run = turns.run(algorithm, data, num_steps=NUM_TURNS * local_steps, num_seeds=NUM_SEEDS, start=start)
    case = Case(f"{name}, {label}, {NUM_SEEDS} seeds", algorithm, run)
    assumed = [turns.is_blocking(case), turns.is_exact(case), turns.is_one_edge(case)]
    return [
        case.judge(ID, "Γ measured", "upper", assumed, partial(_compare, topology=None)),
        case.judge(ID, "closed form", "upper", assumed, partial(_compare, topology=topology)),
    ]


def _compare(case: Case, *, topology: topologies.Topology | None) -> Comparison:
    run, n, targets = case.turns, case.algorithm.num_workers, np.asarray(turns.targets(turns.NUM_WORKERS))
    alpha, steps = STEP_SIZE, case.declared["local_steps"]
    smoothness, second_moment = 1 / np.sqrt(turns.DIM), turns.SECOND_MOMENT
    means = run.before.mean(axis=2)
    slopes = np.tanh(means[:, :, None] - targets).mean(axis=2) / np.sqrt(turns.DIM)
    fallen = _value(run.before[0, 0].mean(axis=0), targets) - _least(targets)
    measured = norms_sq(slopes).mean(axis=1)
    noise = 2 * alpha * smoothness * steps * second_moment / n
    first = n * fallen / (alpha * steps * run.before.shape[1])
    moved_sq = (alpha * steps * smoothness) ** 2 * second_moment
    if topology is None:
        apart = 2 * smoothness**2 / n * turns.spread(run.before).mean(axis=1) + 2 * moved_sq
    else:
        ratio = float(topologies.degrees(topology).max()) / topologies.laplacian_lambda_2(topology)
        apart = np.full(len(measured), moved_sq * (32 * ratio**2 + 8 * ratio + 2))
    return statistics.at_most(measured[:, None], (first + apart + noise)[:, None], is_exact=False, axes=("average",))


def _value(point: np.ndarray, targets: np.ndarray) -> float:
    """F = (1/n) Σ_i Σ_c log cosh(x_c - target_ic) / √d."""
    away = np.abs(point - targets)
    return float((away + np.log1p(np.exp(-2 * away)) - np.log(2)).sum(axis=1).mean() / np.sqrt(targets.shape[1]))


def _least(targets: np.ndarray) -> float:
    """f*."""
    found = scipy.optimize.minimize(_value, targets.mean(axis=0), args=(targets,), tol=1e-12)
    return float(found.fun) - 1e-9
