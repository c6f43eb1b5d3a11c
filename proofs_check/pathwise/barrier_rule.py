"""EC:P10. When a worker goes on, what its rule asks for has come: read off the view that it forms.

Setting
    Variants whose workers go on at a barrier that promises something of norms. What is late is read off the views, not
    off the barrier: x_{t+1} - v_{t+1}^i where it is absent, and the layers in which the two differ.

Statement (EC:P10)
    of all (upper):  ‖x_{t+1} - v_{t+1}^i‖ <= β ‖x_{t+1} - x_t‖                     for the rule of the missing norm,
    of own (upper):  ‖P_t^i u_t^i‖ <= c ‖u_t^i‖, P_t^i the layers that are late, c = √(1 - β) for the rule of squares,
                     (1 - β) √m for the rule of sums over m layers,                 for all t and i, in every run.

Why
    The rules say so of what they look at. (1 - β) Σ_l a_l <= (1 - β) √m ‖u‖ by the inequality of Cauchy and Schwarz.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the norm-bounded scheduler; the rule of sums is
    that of the authors' public code.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elastic_jax import barriers
from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P10"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting whose barrier promises something of norms, and lets what is late be absent.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    names = ("rational", "linear", "quadratic")
    found = cases.exact(names, step_size=step_size, max_tosses=max_tosses, is_meant=_promises)
    return [_judge(case, 1.0) for case in found]


def control() -> list[Check]:
    """Half of what each rule promises."""
    found = cases.exact(("rational",), is_meant=_promises)
    return [record.planted(_judge(case, 0.5), f"{case.setting}: half of what the rule promises") for case in found]


def _promises(algorithm: Algorithm) -> bool:
    barrier = _barrier(algorithm)
    if barrier is None or cases.declared(algorithm)["substitute"]:
        return False
    return barrier.missing_of_own is not None or barrier.missing_of_all < 1


def _barrier(algorithm: Algorithm) -> barriers.Barrier | None:
    barrier: barriers.Barrier | None = cases.declared(algorithm).get("barrier")
    return barrier


def _judge(case: Case, factor: float) -> Check:
    barrier = _barrier(case.algorithm)
    assert barrier is not None
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    if barrier.missing_of_own is None:
        compare = partial(_of_all, promised=factor * barrier.missing_of_all)
        return case.judge(ID, "of all", "upper", assumed, compare)
    promised = factor * barrier.missing_of_own(case.trajectory.num_layers)
    return case.judge(ID, "of own", "upper", assumed, partial(_of_own, promised=promised))


def _of_all(case: Case, promised: float) -> Comparison:
    run = case.trajectory
    late = np.sqrt(run.distances_sq[:, 1:])
    moved = np.sqrt(norms_sq(np.diff(run.params, axis=1)[:, :-1]))[:, :, None]
    claimed = np.broadcast_to(promised * moved, late.shape)
    return statistics.at_most(late[None], claimed[None], is_exact=True, scale=run.scale, axes=("run", "t", "i"))


def _of_own(case: Case, promised: float) -> Comparison:
    run = case.trajectory
    width = run.params.shape[-1] // run.num_layers
    differs = np.abs(run.params[:, 1:-1, None] - run.views[:, 1:]) > statistics.ROUNDING * run.scale
    layers = differs.reshape(*differs.shape[:-1], run.num_layers, width).any(axis=-1)
    own = run.updates[:, :-1]
    late = np.sqrt(norms_sq(np.where(np.repeat(layers, width, axis=-1), own, 0.0)))
    claimed = promised * np.sqrt(norms_sq(own))
    return statistics.at_most(late[None], claimed[None], is_exact=True, scale=run.scale, axes=("run", "t", "i"))
