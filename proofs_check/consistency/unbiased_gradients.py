"""EC:X6. Whatever the schedule, a gradient is on average that of the objective at its view.

Setting
    Any variant; identical workers; slots of workers that are alive. Where the runs are all there are, "past" is every
    sequence of coins before step t, one after the other. On finite sums, views as recorded and every example.

Statement (EC:X6, equality)
    given the past:       E[G_t^i | past] = ∇f(v_t^i)                               for all t, i and every past,
    as they enter:        E[w_t^i G_t^i | past] = E[w_t^i ∇f(v_t^i) | past]         for all t, i and every past,
    views:                v_t^i is the same whatever the samples of step t          for all t, i and every past,
    by enumeration:       the mean over all examples of ∇F(v_t^i, ξ) is ∇f(v_t^i)   for recorded views,
    of some example:      G_t^i is ∇F(v_t^i, ξ) of one of them                      for recorded views,
    over seeds:           E mean_t G_t^i = E mean_t ∇f(v_t^i)                       for every slot i of a step.

Why
    The sample ξ_t^i is drawn after, and independently of, all that v_t^i and the weights were formed from. A schedule
    that looks at samples of the past keeps it. One that looks at the sample itself, and drops a gradient for what it
    is, does not: what enters x is biased even though what was generated is not.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the assumption of unbiased gradients and the
    oblivious scheduler, of which every convergence theorem makes use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax.base import Problem
from elastic_jax.problems import finite_sum
from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.identities.missing_gradients import reads_are_stale
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:X6"

FINITE_SUM = "nonconvex_logistic"
"""The problem of `cases.SAMPLED_PROBLEMS` whose samples are examples, one for each gradient."""

NUM_RUNS_ENUMERATED = 4


def check(
    *,
    step_size: float = cases.STEP_SIZE,
    max_tosses: int = cases.MAX_TOSSES,
    num_seeds: int = cases.NUM_SEEDS,
    num_steps: int = cases.NUM_STEPS,
) -> list[Check]:
    """Every setting for every past; the defaults on a finite sum, whose examples are enumerated.

    Args:
        step_size: α > 0.
        max_tosses: coins of one exact run.
        num_seeds: S of the sampled runs.
        num_steps: T of the sampled runs.
    """
    exact = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses)
    dropping = cases.dropping(("rational",), step_size=step_size, max_tosses=max_tosses)
    sampled = cases.sampled((FINITE_SUM,), step_size=step_size, num_seeds=num_seeds, num_steps=num_steps)
    found = [one for run in (exact, dropping) for case in run for one in _judge(case)]
    return found + [one for case in sampled for one in _judge_sampled(case)]


def control() -> list[Check]:
    """A schedule that looks at the sample; views that do; an example that is never counted; gradients of elsewhere."""
    adaptive = next(cases.dropping(("at_optimum",), is_adaptive=True))
    run = adaptive.trajectory
    seeing = adaptive._replace(trajectory=run._replace(views=run.views + 1e-6 * run.noises))
    stale = next(cases.sampled((FINITE_SUM,), is_meant=reads_are_stale))
    run = stale.trajectory
    current = run._replace(views=np.broadcast_to(run.params[:, :-1, None], run.views.shape))
    larger = stale._replace(trajectory=run._replace(grads=1.5 * run.grads))
    return [
        record.planted(_judge(adaptive)[1], "a schedule that looks at the sample"),
        record.planted(_judge(seeing)[2], "views that look at the sample"),
        record.planted(_judge_sampled(stale, num_hidden=1)[0], "an example that is never counted"),
        *(
            record.planted(one, "gradients that were taken elsewhere")
            for one in _judge_sampled(stale._replace(trajectory=current))[:2]
        ),
        record.planted(_judge_sampled(larger)[2], "gradients larger by a half"),
    ]


def _judge(case: Case) -> list[Check]:
    assumed = [hypotheses.is_homogeneous(case.constants)]
    return [
        case.judge(ID, "given the past", "equality", assumed, partial(_given_past, is_weighted=False)),
        case.judge(ID, "as they enter", "equality", assumed, partial(_given_past, is_weighted=True)),
        case.judge(ID, "views", "equality", assumed, _views),
    ]


def _judge_sampled(case: Case, num_hidden: int = 0) -> list[Check]:
    assumed = [hypotheses.is_homogeneous(case.constants)]
    return [
        case.judge(ID, "by enumeration", "equality", assumed, partial(_enumerated, num_hidden=num_hidden)),
        case.judge(ID, "of some example", "equality", assumed, _nearest),
        case.judge(ID, "over seeds", "equality", assumed, _over_seeds),
    ]


def _given_past(case: Case, is_weighted: bool) -> Comparison:
    run = case.trajectory
    factors = hypotheses.is_used(run) * (run.weights[..., None] if is_weighted else 1.0)
    left, right = (hypotheses.given_past(factors * vectors) for vectors in (run.grads, run.view_slopes))
    scale = float(np.abs(run.grads).max())
    return statistics.equal(left, right, scale=scale, axes=("run", "t", "i", "coordinate"))


def _views(case: Case) -> Comparison:
    run = case.trajectory
    known = hypotheses.given_past(run.views)
    return statistics.equal(run.views, known, scale=run.scale, axes=("run", "t", "i", "coordinate"))


def _over_seeds(case: Case) -> Comparison:
    """Averaged over the steps of a run first, whose noises are uncorrelated: few comparisons, each of them sharp."""
    run, is_used = case.trajectory, hypotheses.is_used(case.trajectory)
    left, right = ((vectors * is_used).mean(axis=1) for vectors in (run.grads, run.view_slopes))
    return statistics.same_mean(left, right, axes=("i", "coordinate"))


def _enumerated(case: Case, num_hidden: int) -> Comparison:
    """The mean over all examples but the last few, against ∇f at the view."""
    grads = _of_every_example(case)
    means = grads[..., : grads.shape[-2] - num_hidden, :].mean(axis=-2)
    found = case.trajectory.view_slopes[:NUM_RUNS_ENUMERATED]
    return statistics.equal(means, found, axes=("run", "t", "i", "coordinate"))


def _nearest(case: Case) -> Comparison:
    """G_t^i, against the gradient of the example that comes closest to it."""
    is_used = hypotheses.is_used(case.trajectory)[:NUM_RUNS_ENUMERATED]
    found, grads = case.trajectory.grads[:NUM_RUNS_ENUMERATED], _of_every_example(case)
    chosen = np.abs(grads - found[..., None, :]).max(axis=-1).argmin(axis=-1)
    nearest = np.take_along_axis(grads, chosen[..., None, None], axis=-2)[..., 0, :]
    return statistics.equal(nearest * is_used, found * is_used, axes=("run", "t", "i", "coordinate"))


def _of_every_example(case: Case) -> np.ndarray:
    """float64[R, T, k, m, d]. The gradient of every example at the views of a few runs; all workers have the same m."""
    views = case.trajectory.views[:NUM_RUNS_ENUMERATED]
    with jax.enable_x64(True):
        grads = np.asarray(_compiled()(jnp.asarray(views.reshape(-1, views.shape[-1]))))
    return grads.reshape(*views.shape[:-1], *grads.shape[1:])


@functools.cache
def _compiled() -> Callable[[Array], Array]:
    return jax.jit(jax.vmap(partial(_of_one_worker, problem=cases.sampled_problem(FINITE_SUM))))


def _of_one_worker(params: Array, problem: Problem) -> Array:
    return finite_sum.enumerate_grads(problem, params)[0]
