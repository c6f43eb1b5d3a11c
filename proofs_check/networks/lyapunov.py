"""CH:P1. Gossip between estimates brings rows together, and estimates near them, at a γ that is small enough.

Setting
    Variants whose state has estimates X̂, without gradients: rows X begin far apart, and estimates at 0. W symmetric, ρ
    = 1 - ‖W - J‖₂, β = ‖I - W‖₂; C a contraction, E‖C(w) - w‖² <= (1 - δ) ‖w‖². Quantising first E_t = X_t - X̂_{t+1},
    which the mixing of step t uses; mixing first E_t = X_t - X̂_t.

Statement (CH:P1)
    rows (tight):       ‖X_{t+1} - X̄‖ <= (1 - γ ρ) ‖X_t - X̄‖ + γ β ‖E_t‖           for all t, every run and γ in (0, 1];
    estimates (upper):  ‖E_{t+1}‖ <= √(1 - δ) [(1 + γ β) ‖E_t‖ + γ β ‖X_t - X̄‖]     the same, C pathwise;
    both (upper):       ‖X_t - X̄‖ is at most the first entry of M^t (‖X_0 - X̄‖, ‖E_0‖), M the matrix of these two; its
                        powers come to 0 where γ < ρ (1 - s)/(s β (ρ + β)), s = √(1 - δ): at half of that;
    decay (upper):      E[‖X_t - X̄‖² + ‖E_t‖²] <= (1 - ρ² δ/82)^t (‖X_0 - X̄‖² + ‖E_0‖²)
                        at γ* = ρ δ/(16 ρ + ρ² + 4 β² + 2 ρ β² - 8 ρ δ), over messages;
    factors (upper):    ρ² δ/82 is at most what the proof of the last one finds, at all ρ, δ, β of a grid.

Why
    X_{t+1} - X̄ = (I + γ (W - I)) (X_t - X̄) - γ (W - I) E_t, and on rows of mean 0 the first matrix has eigenvalues 1 -
    γ (1 - λ), at most 1 - γ ρ in modulus. X_{t+1} less the estimate before its correction is (I - γ (W - I)) E_t + γ (W
    - I) (X_t - X̄), of which C leaves the share 1 - δ of the square. With (a + b)² <= (1 + c) a² + (1 + 1/c) b², c = γ
    ρ/2 for the rows and δ/2 for the estimates, both squares together shrink by the larger of
        (1 - γ ρ)² (1 + γ ρ/2) + (1 - δ) γ² β² (1 + 2/δ),   γ² β² (1 + 2/(γ ρ)) + (1 - δ) (1 + γ β)² (1 + δ/2).
    The first form is attained by the eigenvector of λ₂ where nothing is lost and |λ_n| <= λ₂.

Source
    Koloskova, Stich, Jaggi, Decentralized Stochastic Optimization and Gossip Algorithms with Compressed Communication,
    ICML 2019, arXiv 1902.00340, Theorem 2 (CHOCO-Gossip); proved above. γ* is often written with ρ² for the ρ
    of its numerator: then the rate 1 - ρ² δ/82 fails where ρ is small, as rows without any loss come together by (1 - γ
    ρ)² and no faster, and what is proved is 1 - ρ³ δ/82.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from elastic_jax import compressors, topologies
from elastic_jax.compressors import Compressor
from elastic_jax.topologies import Topology
from proofs_check import cases, record, statistics
from proofs_check.networks import planted, runs
from proofs_check.networks.runs import Run
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison

ID = "CH:P1"

NUM_COORDINATES = 8
NUM_STEPS = 60
NUM_SEEDS = 256
"""Of messages, where a compressor draws."""

PARTS: Mapping[str, tuple[Compressor, Callable[[int], Topology], int]] = {
    "everything sent, ring": (compressors.identity(), topologies.ring, 8),
    "top-k, ring": (compressors.top_k(0.25), topologies.ring, 8),
    "top-k, complete": (compressors.top_k(0.25), topologies.complete, 5),
    "one of eight, star": (compressors.top_k(1 / NUM_COORDINATES), topologies.star, 5),
    "random-k, ring": (compressors.random_k(0.5), topologies.ring, 6),
    "signs, hypercube": (compressors.scaled_sign(), topologies.hypercube, 8),
    "contracted ternary, ring": (compressors.contracted(compressors.terngrad()), topologies.ring, 5),
}
"""{label: C, graph, n}."""


class Known(NamedTuple):
    """What the statement speaks of."""

    gap: float
    """ρ."""
    largest: float
    """β."""
    kept: float
    """δ."""

    @property
    def proved(self) -> float:
        """γ*."""
        rho, beta, delta = self
        return rho * delta / (16 * rho + rho**2 + 4 * beta**2 + 2 * rho * beta**2 - 8 * rho * delta)

    @property
    def pathwise(self) -> float:
        """Half of the γ below which the powers of M come to 0; at most 1."""
        rho, beta, delta = self
        left = (1 - delta) ** 0.5
        return 1.0 if left == 0 else min(1.0, rho * (1 - left) / (2 * left * beta * (rho + beta)))


def check(*, num_steps: int = NUM_STEPS) -> list[Check]:
    """Every variant with estimates, in both orders, with compressors and graphs; and the grid.

    Args:
        num_steps: T.
    """
    found = [_factors()]
    for label in cases.few(PARTS, number=2):
        compressor, graph, n = PARTS[label]
        known = _known(compressor, graph(n))
        for size in sorted({known.proved, known.pathwise, 1.0}):
            for run in _runs(label, size, num_steps=num_steps):
                found += _judge(run, known, is_proved=size == known.proved, is_pathwise=size == known.pathwise)
    return found


def control() -> list[Check]:
    """γ = 1 with one of eight sent; δ of a compressor that sends nothing; λ₂ of the Laplacian for ρ; ρ² in γ*; 1/20."""
    label = "one of eight, star"
    known = _known(PARTS[label][0], PARTS[label][1](PARTS[label][2]))
    steep = _judge(next(_runs(label, 1.0)), known, is_proved=True)
    found = [record.planted(one, "γ = 1") for one in steep if one.name == "decay"]

    label = "top-k, complete"
    compressor, graph, n = PARTS[label]
    known = _known(compressor, graph(n))
    silent = next(_runs(label, known.pathwise, compressor=planted.nothing_arrives(compressor)))
    told = _judge(silent, known, is_proved=True, is_pathwise=True)
    found += [record.planted(one, "nothing arrives") for one in told if one.name in ("estimates", "both", "decay")]

    label = "everything sent, ring"
    compressor, graph, n = PARTS[label]
    known = _known(compressor, graph(n))
    laplacian = known._replace(gap=topologies.laplacian_lambda_2(graph(n)))
    run = next(_runs(label, 0.3))
    found.append(record.planted(_judge(run, laplacian)[0], "λ₂ of the Laplacian for ρ"))

    known = _known(compressor, graph(32))
    slow = next(_runs(label, known.gap * known.proved, begin=_slowest(graph(32))))
    told = _judge(slow, known, is_proved=True)
    found += [record.planted(one, "ρ² in the numerator of γ*") for one in told if one.name == "decay"]
    return [*found, record.planted(_factors(divisor=20.0), "1 - ρ² δ/20")]


def _known(compressor: Compressor, topology: Topology) -> Known:
    kept = compressor.contraction_factor(np.zeros(NUM_COORDINATES))
    assert kept is not None
    eigenvalues = np.linalg.eigvalsh(topology.mixing_matrix)
    return Known(topologies.spectral_gap(topology), float(1 - eigenvalues[0]), kept)


def _runs(
    label: str,
    size: float,
    *,
    num_steps: int = NUM_STEPS,
    compressor: Compressor | None = None,
    begin: np.ndarray | None = None,
) -> Iterator[Run]:
    """Both orders of every variant with estimates."""
    given, graph, n = PARTS[label]
    compressor = given if compressor is None else compressor
    if begin is None:
        begin = 2.0 + np.random.default_rng(0).standard_normal((n, NUM_COORDINATES))
    n = len(begin)
    parts = {
        f"{label} of {n}, γ = {size:.3g}{words}": {
            "compressor": compressor,
            "topology": graph,
            "consensus_step_size": size,
            "quantize_first": is_first,
        }
        for words, is_first in (("", True), (", mixing first", False))
    }
    return runs.far_apart(
        parts,
        num_workers=n,
        num_steps=num_steps,
        num_seeds=1 if compressor.is_pathwise and _has_no_coins(compressor) else NUM_SEEDS,
        begin=begin,
    )


def _slowest(topology: Topology) -> np.ndarray:
    """float[n, 8]. Rows along the eigenvector of λ₂."""
    return np.tile(np.linalg.eigh(topology.mixing_matrix)[1][:, [-2]], NUM_COORDINATES)


def _has_no_coins(compressor: Compressor) -> bool:
    """What holds for every draw of the library's compressors has none, but for those that round at random."""
    return compressor.variance_factor(np.zeros(NUM_COORDINATES)) in (None, 0.0)


def _judge(run: Run, known: Known, *, is_proved: bool = False, is_pathwise: bool = False) -> list[Check]:
    compressor: Compressor = cases.declared(run.algorithm)["compressor"]
    every_draw = [Hypothesis("pathwise", compressor.is_pathwise, "for every draw, or in expectation only")]
    judged = partial(_record, run)
    found = [
        judged("rows", "tight", [], partial(_rows, run, known), is_exact=True),
        judged("estimates", "upper", every_draw, partial(_estimates, run, known), is_exact=True),
    ]
    if is_pathwise:
        found.append(judged("both", "upper", every_draw, partial(_both, run, known), is_exact=True))
    if is_proved:
        is_exact = run.params.shape[0] == 1
        found.append(judged("decay", "upper", [], partial(_decay, run, known, is_exact), is_exact=is_exact))
    return found


def _record(
    run: Run,
    name: str,
    kind: str,
    hypotheses: list[Hypothesis],
    compare: Callable[[], Comparison],
    *,
    is_exact: bool,
) -> Check:
    num_runs, num_steps = run.params.shape[0], run.params.shape[1] - 1
    return record.judge(
        ID, name, kind, run.setting, hypotheses, compare, seeds=num_runs, is_exact=is_exact, steps=num_steps
    )


def _norms(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """float64[S, T]. ‖X_t - X̄‖ and ‖E_t‖."""
    rows, estimates = runs.flat(run, "local_params"), runs.flat(run, "estimates")
    used = estimates[:, 1:] if cases.declared(run.algorithm)["quantize_first"] else estimates[:, :-1]
    apart = rows - rows.mean(axis=2, keepdims=True)
    off = rows[:, :-1] - used
    return tuple(np.sqrt(np.square(each).sum(axis=(2, 3))) for each in (apart[:, :-1], off))


def _matrix(run: Run, known: Known) -> np.ndarray:
    """M."""
    size = cases.declared(run.algorithm)["consensus_step_size"]
    (rho, beta, delta), left = known, (1 - known.kept) ** 0.5
    del delta
    return np.array([[1 - size * rho, size * beta], [left * size * beta, left * (1 + size * beta)]])


def _at_most(run: Run, measured: np.ndarray, claimed: np.ndarray) -> Comparison:
    """In every run: each is a place."""
    return statistics.at_most(measured[None], claimed[None], is_exact=True, scale=run.scale, axes=("run", "t"))


def _rows(run: Run, known: Known) -> Comparison:
    apart, off = _norms(run)
    found = _matrix(run, known)[0]
    return _at_most(run, apart[:, 1:], (found[0] * apart + found[1] * off)[:, :-1])


def _estimates(run: Run, known: Known) -> Comparison:
    apart, off = _norms(run)
    found = _matrix(run, known)[1]
    return _at_most(run, off[:, 1:], (found[0] * apart + found[1] * off)[:, :-1])


def _both(run: Run, known: Known) -> Comparison:
    norms = np.stack(_norms(run), axis=2)
    matrix, power, claimed = _matrix(run, known), np.eye(2), []
    for _ in range(norms.shape[1]):
        claimed.append(norms[:, 0] @ power[0])
        power = matrix @ power
    return _at_most(run, norms[:, 1:, 0], np.stack(claimed, axis=1)[:, 1:])


def _decay(run: Run, known: Known, is_exact: bool) -> Comparison:
    apart, off = _norms(run)
    total = apart**2 + off**2
    rate = 1 - known.gap**2 * known.kept / 82
    claimed = rate ** np.arange(total.shape[1]) * total[:, :1]
    return statistics.at_most(total[:, 1:], claimed[:, 1:], is_exact=is_exact, scale=run.scale, axes=("t",))


def _factors(divisor: float = 82.0) -> Check:
    compare = partial(_grid, divisor)
    return record.judge(ID, "factors", "upper", "a grid of ρ, β, δ", [], compare, seeds=1, is_exact=True, steps=0)


def _grid(divisor: float) -> Comparison:
    places = [
        Known(float(rho), float(beta), float(delta))
        for rho in np.geomspace(0.01, 1, 25)
        for beta in np.geomspace(rho, 2, 25)
        for delta in np.geomspace(0.01, 1, 25)
    ]
    claimed = [1 - max(_squares(known)) for known in places]
    measured = [known.gap**2 * known.kept / divisor for known in places]
    # relative to each other: all are small
    ratios = np.array(measured) / np.array(claimed)
    return statistics.at_most(ratios[None], np.ones_like(ratios)[None], is_exact=True, axes=("place",))


def _squares(known: Known) -> tuple[float, float]:
    """By what the squares of both norms shrink in a step at γ*."""
    (rho, beta, delta), size = known, known.proved
    drawn, spread = size * rho / 2, (size * beta) ** 2
    return (
        (1 - size * rho) ** 2 * (1 + drawn) + (1 - delta) * spread * (1 + 2 / delta),
        spread * (1 + 1 / drawn) + (1 - delta) * (1 + size * beta) ** 2 * (1 + delta / 2),
    )
