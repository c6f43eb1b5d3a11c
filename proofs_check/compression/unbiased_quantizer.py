"""EC:E13. An unbiased quantiser without error feedback: views are exact, and the noise is larger by a known amount.

Setting
    Synchronous variants without error feedback and an unbiased compressor, E C(w) = w, E‖C(w) - w‖² <= ω ‖w‖², plain
    SGD, identical workers. What enters x is the update C(-α G), which loses nothing on average.

Statement (EC:E13)
    views (equality):        v_t^i = x_t, that is B = 0 with respect to the parameters that are stored;
    mean (equality):         E[C(-α G_t^i)] = -α E∇f(v_t^i)                         for all t and i,
    second moment (upper):   E‖C(-α G_t^i)‖² <= (1 + ω) α² E‖G_t^i‖²,
    noise (upper):           E‖C(-α G_t^i)/α + ∇f(v_t^i)‖² <= (1 + ω) σ² + ω E‖∇f(v_t^i)‖²,
    noise of random-k (equality): both sides are the same with E‖G - ∇f‖² for σ², where that of ω is an equality.

Why
    The coins of a compressor are independent of the samples. Given G, E‖C(G) - ∇f‖² = E‖C(G) - G‖² + ‖G - ∇f‖² <=
    ω ‖G‖² + ‖G - ∇f‖², and E‖G‖² = ‖∇f‖² + E‖G - ∇f‖².

Source
    Alistarh et al., QSGD, NeurIPS 2017, arXiv 1610.02132, Theorem 3.2 and §3, for the second moment; the noise is
    derived above. Nadiradze et al., AAAI 2021, arXiv 2001.05918, for B.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from elastic_jax import compressors
from elastic_jax.compressors import Compressor
from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.compression import specimens
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:E13"

NUM_SEEDS = 1024
NUM_STEPS = 6

UNBIASED: Mapping[str, Compressor] = {
    "random_k(0.5), scaled": compressors.random_k(0.5, is_scaled=True),
    "qsgd(1)": compressors.qsgd(1),
}
TIGHT = "random_k(0.5), scaled"
"""The compressor whose variance is ω ‖w‖², not only at most that."""


def check(*, step_size: float = cases.STEP_SIZE, num_seeds: int = NUM_SEEDS, num_steps: int = NUM_STEPS) -> list[Check]:
    """Every synchronous setting without memory and each unbiased compressor, over seeds.

    Args:
        step_size: α > 0.
        num_seeds: S.
        num_steps: T.
    """
    checks = []
    for name in specimens.variants(error_feedback=False):
        for label, compressor in UNBIASED.items():
            case = _case(name, label, compressor, step_size, num_seeds, num_steps)
            checks += _judge(case)
            checks += [_judge_tight(case)] if label == TIGHT else []
    return checks


def control() -> list[Check]:
    """Top-k said to be unbiased; ω halved; the noise of the samples alone."""
    name = next(iter(specimens.variants(error_feedback=False)))
    kept = compressors.top_k(0.5)
    biased = kept._replace(variance_factor=UNBIASED[TIGHT].variance_factor)
    wrong = _case(name, "top_k(0.5)", biased, cases.STEP_SIZE, NUM_SEEDS, NUM_STEPS)
    right = _case(name, TIGHT, UNBIASED[TIGHT], cases.STEP_SIZE, NUM_SEEDS, NUM_STEPS)
    halved, none = (_judge(right, factor)[2:] for factor in (0.5, 0.0))
    return [
        record.planted(_judge(wrong)[1], "top-k said to be unbiased"),
        *(record.planted(one, "ω halved") for one in halved),
        *(record.planted(one, "noise of the samples alone") for one in none),
        record.planted(_judge_tight(right, 0.5), "ω halved"),
    ]


def _judge(case: Case, factor: float = 1.0) -> list[Check]:
    omega = factor * _omega(case)
    assumed = [
        hypotheses.is_oblivious(case.trajectory),
        hypotheses.is_homogeneous(case.constants),
        hypotheses.is_known(case.constants, "grad_variance"),
        hypotheses.is_unbiased(case.trajectory),
    ]
    return [
        case.judge(ID, "views", "equality", assumed, _views),
        case.judge(ID, "mean", "equality", assumed, _mean),
        case.judge(ID, "second moment", "upper", assumed, partial(_second_moment, omega=omega)),
        case.judge(ID, "noise", "upper", assumed, partial(_noise, omega=omega)),
    ]


def _judge_tight(case: Case, factor: float = 1.0) -> Check:
    assumed = [hypotheses.is_oblivious(case.trajectory), hypotheses.is_unbiased(case.trajectory)]
    return case.judge(
        ID, "noise of random-k", "equality", assumed, partial(_noise_of_random_k, omega=factor * _omega(case))
    )


def _omega(case: Case) -> float:
    """ω of the compressor of a case."""
    variance = cases.declared(case.algorithm)["compressor"].variance_factor(case.trajectory.params[0, 0])
    assert variance is not None
    return float(variance)


def _views(case: Case) -> Comparison:
    run = case.trajectory
    return statistics.equal(np.broadcast_to(run.params[:, :-1, None], run.views.shape), run.views)


def _mean(case: Case) -> Comparison:
    run = case.trajectory
    return statistics.same_mean(run.updates, -case.step_size * run.view_slopes, axes=("t", "i", "entry"))


def _second_moment(case: Case, omega: float) -> Comparison:
    run = case.trajectory
    claimed = (1 + omega) * case.step_size**2 * norms_sq(run.grads)
    return statistics.at_most(norms_sq(run.updates), claimed, is_exact=False)


def _noise_sq(case: Case) -> np.ndarray:
    return norms_sq(case.trajectory.updates / case.step_size + case.trajectory.view_slopes)


def _noise(case: Case, omega: float) -> Comparison:
    (grad_variance,) = case.known("grad_variance")
    claimed = (1 + omega) * grad_variance + omega * norms_sq(case.trajectory.view_slopes)
    return statistics.at_most(_noise_sq(case), claimed, is_exact=False)


def _noise_of_random_k(case: Case, omega: float) -> Comparison:
    run = case.trajectory
    claimed = (1 + omega) * norms_sq(run.noises) + omega * norms_sq(run.view_slopes)
    return statistics.same_mean(_noise_sq(case), claimed)


def _case(name: str, label: str, compressor: Compressor, step_size: float, num_seeds: int, num_steps: int) -> Case:
    return specimens.sampled(
        name, label, compressor, error_feedback=False, step_size=step_size, num_seeds=num_seeds, num_steps=num_steps
    )
