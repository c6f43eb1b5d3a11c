"""SW:P1. How fast meetings bring workers together, on average over who meets.

Setting
    Workers that meet in pairs, blocking, without gradients. One edge, uniform over all m of a graph; or one matching,
    uniform over those that its edges are split into. λ₂ is that of the graph's Laplacian D - A, r the degree.

Statement (SW:P1)
    one edge (upper):       E Γ' <= (1 - λ₂/(2 m)) Γ from any rows; λ₂/(2 m) = λ₂/(r n) where all degrees are r;
    slowest (equality):     E Γ' = (1 - λ₂/(2 m)) Γ from rows along the eigenvector of λ₂, on every graph;
    complete (equality):    E Γ' = (1 - 1/(n - 1)) Γ from any rows;
    matchings (upper):      E Γ' <= (1 - λ₂/(2 c)) Γ, c the number of matchings.

Why
    A pair that averages takes ½ ‖x^i - x^j‖² from Γ (SW:I1). Over the edges E ½ ‖x^i - x^j‖² = (1/2m) tr Xᵀ (D - A) X,
    at least λ₂ Γ/(2 m), with equality along the eigenvector; on a complete graph all other eigenvalues are λ₂ = n. Each
    edge is in one of the c matchings.

Source
    Boyd, Ghosh, Prabhakar, Shah, Randomized Gossip Algorithms, 2006; arXiv 1910.12308, its lemma on Γ; proved above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from elastic_jax import topologies
from proofs_check import cases, record, statistics
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.swarms import planted, turns
from proofs_check.swarms.turns import Case

ID = "SW:P1"
NUM_WORKERS = 8
NUM_SEEDS = 4000

GRAPHS: Mapping[str, topologies.Topology] = {
    "a ring": topologies.ring(NUM_WORKERS),
    "a torus": topologies.torus(2, 4),
    "a hypercube": topologies.hypercube(NUM_WORKERS),
    "a star": topologies.star(NUM_WORKERS),
    "a complete graph": topologies.complete(NUM_WORKERS),
}


def check() -> list[Check]:
    """Graphs with different degrees and gaps."""
    found = []
    for label, topology in cases.few(GRAPHS.items(), number=1):
        found += [_slowest(label, topology), _upper(label, topology), _upper(label, topology, parallel=True)]
    return [*found, _complete()]


def control() -> list[Check]:
    """λ₂ of W in the place of the Laplacian's; one end alone averages; half of the way."""
    label, ring = "a ring", GRAPHS["a ring"]
    of_mixing = float(np.linalg.eigvalsh(ring.mixing_matrix)[-2]) / (2 * len(topologies.edges(ring)))
    return [
        record.planted(_slowest(label, ring, contraction=of_mixing), "λ₂ of W in the place of the Laplacian's"),
        record.planted(_slowest(label, ring, plant=planted.one_sided), "one of the two averages"),
        record.planted(_complete(plant=planted.half_way), "those who meet go half of the way to their mean"),
        record.planted(_upper(label, ring, plant=planted.one_sided), "one of the two averages"),
    ]


def _slowest(label: str, topology: topologies.Topology, *, contraction: float | None = None, **given: Any) -> Check:
    return _case(label, topology, turns.slowest(topology), **given).judge(
        ID, "slowest", "equality", [], lambda case: _same(case, _declared(case, contraction))
    )


def _upper(label: str, topology: topologies.Topology, *, parallel: bool = False, **given: Any) -> Check:
    # near the slowest direction, so that little slack is left
    start = turns.slowest(topology) + 0.05 * np.random.default_rng(0).standard_normal((NUM_WORKERS, 1))
    name = "matchings" if parallel else "one edge"
    return _case(label, topology, start, parallel=parallel, **given).judge(ID, name, "upper", [], _at_most)


def _complete(**given: Any) -> Check:
    start = np.random.default_rng(1).standard_normal((NUM_WORKERS, 3))
    return _case("a complete graph", GRAPHS["a complete graph"], start, **given).judge(
        ID, "complete", "equality", [], lambda case: _same(case, 1 / (NUM_WORKERS - 1))
    )


def _case(
    label: str,
    topology: topologies.Topology,
    start: np.ndarray,
    *,
    parallel: bool = False,
    plant: planted.Plant = lambda given: given,
) -> Case:
    name, build = next(turns.builds())
    algorithm = plant(
        build(turns.no_grads, num_workers=NUM_WORKERS, topology=topology, local_steps=1, parallel=parallel)
    )
    run = turns.run(algorithm, start, num_steps=1, num_seeds=NUM_SEEDS, start=start)
    return Case(f"{name} on {label}, {NUM_SEEDS} meetings", algorithm, run)


def _declared(case: Case, contraction: float | None = None) -> float:
    return float(case.declared["meeting"].contraction) if contraction is None else contraction


def _at_most(case: Case) -> Comparison:
    run = case.turns
    return statistics.at_most(
        turns.spread(run.after), (1 - _declared(case)) * turns.spread(run.before), is_exact=False, axes=("t",)
    )


def _same(case: Case, contraction: float) -> Comparison:
    run = case.turns
    return statistics.same_mean(turns.spread(run.after), (1 - contraction) * turns.spread(run.before), axes=("t",))
