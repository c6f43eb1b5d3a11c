"""EC:X5. How different two gradients of one step are: what substitution puts in the place of M².

Setting
    Parallel steps of identical workers; i and j any two that are alive in step t; gradients unbiased given the past, of
    variance at most σ², the noises of different workers uncorrelated; f with L-Lipschitz gradients. The schedule may
    look at samples of the past.

Statement (EC:X5, tight)
    views:   E‖G_t^j - G_t^i‖² <= E‖ξ_t^i‖² + E‖ξ_t^j‖² + L² E‖v_t^i - v_t^j‖²,  ξ_t^i = G_t^i - ∇f(v_t^i),
    stated:  E‖G_t^j - G_t^i‖² <= 2 σ² + 2 L² (E‖x_t - v_t^i‖² + E‖x_t - v_t^j‖²)       for all t, i, j.
    The first is attained where f is a quadratic with all curvatures L, the second where the views are x_t.

Why
    G^j - G^i = (ξ^j - ξ^i) + (∇f(v^j) - ∇f(v^i)); the two brackets are orthogonal, since the second is known before the
    samples, and so are ξ^i and ξ^j. Then ‖∇f(v^j) - ∇f(v^i)‖ <= L ‖v^j - v^i‖ and ‖a + b‖² <= 2 ‖a‖² + 2 ‖b‖². It is
    smaller than 4 M², what two gradients could be, and than M² once σ² < ‖∇f‖².

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the lemmas in which σ stands for M: crashes,
    asynchrony with substitution, the variance-bounded scheduler. Departure: the orthogonal split, where three terms
    would give 6 σ² and 12 L² in place of 2 σ² and 4 L².
"""

from __future__ import annotations

from functools import partial

import numpy as np

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory, norms_sq

ID = "EC:X5"


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting with parallel steps, over all paths; the defaults also over seeds, for longer.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(("isotropic", "rational"), step_size=step_size, max_tosses=max_tosses, is_meant=cases.takes_all)
    sampled = cases.sampled(
        ("nonconvex_logistic",),
        step_size=step_size,
        num_seeds=num_seeds,
        num_steps=num_steps,
        is_meant=cases.takes_all,
    )
    return [one for found in (exact, sampled) for case in found for one in _judge(case)]


def control() -> list[Check]:
    """L or σ² understated where nothing is to spare; noises that are opposite; workers that differ."""
    found = list(cases.exact(("isotropic",), is_meant=cases.takes_all))
    alike = next(case for case in found if not case.trajectory.distances_sq.any())
    apart = next(case for case in found if np.ptp(case.trajectory.views, axis=2).any())
    smoothness, noise = alike.known("smoothness", "grad_variance")
    flatter = apart._replace(constants=apart.constants._replace(smoothness=smoothness / 2))
    quieter = alike._replace(constants=alike.constants._replace(grad_variance=0.9 * noise))
    differing = alike._replace(constants=alike.constants._replace(heterogeneity=1.0))
    opposite = alike._replace(trajectory=_with_opposite_noises(alike.trajectory))
    return [
        record.planted(_judge(flatter)[0], "L understated by 2"),
        record.planted(_judge(quieter)[1], "σ² understated by a tenth"),
        *(record.planted(one, "noises that are opposite", expected="skipped") for one in _judge(opposite)),
        *(record.planted(one, "workers that differ", expected="skipped") for one in _judge(differing)),
    ]


def _with_opposite_noises(run: Trajectory) -> Trajectory:
    grads = run.grads.copy()
    grads[:, :, 1] = run.view_slopes[:, :, 1] - run.noises[:, :, 0]
    return run._replace(grads=grads)


def _judge(case: Case) -> list[Check]:
    assumed = [
        hypotheses.is_declared("two workers", case.trajectory.num_active > 1, f"k = {case.trajectory.num_active}"),
        hypotheses.is_unbiased(case.trajectory),
        _is_uncorrelated(case.trajectory),
        hypotheses.is_homogeneous(case.constants),
        hypotheses.is_known(case.constants, "smoothness", "grad_variance"),
    ]
    return [
        case.judge(ID, "views", "tight", assumed, partial(_compare, is_sharp=True)),
        case.judge(ID, "stated", "tight", assumed, partial(_compare, is_sharp=False)),
    ]


def _is_uncorrelated(run: Trajectory) -> Hypothesis:
    """E⟨ξ^i, ξ^j⟩ = 0 for any two workers of one step, within the band of statistical error if there is any."""
    i, j = _pairs(run)
    products = np.einsum("stpd,stpd->stp", run.noises[:, :, i], run.noises[:, :, j]) * _are_alive(run)
    found = np.abs(products.mean(axis=0))
    errors = np.zeros_like(found) if run.is_exact else statistics.standard_error(products)
    allowed = statistics.band(found.size) * errors + statistics.ROUNDING * norms_sq(run.noises).max()
    detail = f"largest mean product {float(found.max()):.1e}"
    return Hypothesis("uncorrelated noises", bool(np.all(found <= allowed)), detail)


def _pairs(run: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Positions i < j of any two slots of a step."""
    return np.triu_indices(run.num_active, k=1)


def _are_alive(run: Trajectory) -> np.ndarray:
    """bool[T, P]. Both slots of a pair were used, in every run."""
    i, j = _pairs(run)
    is_used = np.all(run.workers >= 0, axis=0)
    return np.asarray(is_used[:, i] & is_used[:, j])


def _compare(case: Case, is_sharp: bool) -> Comparison:
    run = case.trajectory
    L, variance = case.known("smoothness", "grad_variance")
    i, j = _pairs(run)
    measured = norms_sq(run.grads[:, :, j] - run.grads[:, :, i])
    if is_sharp:
        noises_sq = norms_sq(run.noises)
        claimed = noises_sq[:, :, i] + noises_sq[:, :, j] + L**2 * norms_sq(run.views[:, :, i] - run.views[:, :, j])
    else:
        claimed = 2 * variance + 2 * L**2 * (run.distances_sq[:, :, i] + run.distances_sq[:, :, j])
    alive = _are_alive(run)
    return statistics.at_most(measured * alive, claimed * alive, is_exact=run.is_exact, axes=("t", "pair"))
