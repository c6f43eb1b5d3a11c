"""EC:I15. Error feedback with the step size inside the memory, and outside: the same, or how they differ.

Setting
    Synchronous variants with error feedback, whose memories have α folded in: m = C(e + u), u = -α G (the paper's
    ε = -e). Beside them the unfolded form, written out in NumPy and sharing nothing with the library:
        ê_0 = 0,  ŵ_t^i = ê_t^i + G_t^i,  ê_{t+1}^i = ŵ_t^i - C(ŵ_t^i),  v̂_{t+1} = v̂_t - (α_t/n) Σ_i C(ŵ_t^i).
    Both take the same samples, and in the last line the same gradients, those of the folded run. C is positively
    homogeneous, C(λ w) = λ C(w) for λ > 0. A bar is a mean over workers.

Statement (EC:I15, equality)
    constant α:    v̂_t = v_t                                                       for all t, in every run;
    α_t, folded:   x_t - v_t = ē_t, as with constant α;
    α_t, unfolded: x̂_t - v̂_t = -α_t ê̄_t + Σ_{s=1}^{t} (α_s - α_{s-1}) ê̄_s,  x̂_t = x_0 - Σ_{s<t} α_s Ḡ_s;
    difference:    v̂_t - v_t = α_t ê̄_t + ē_t - Σ_{s=1}^{t} (α_s - α_{s-1}) ê̄_s.

Why
    Constant α: by induction e_t = -α ê_t, since C(-α ŵ) = -α C(ŵ) (entries change sign together). Otherwise
    Ḡ_s = ê̄_{s+1} - ê̄_s + (1/n) Σ C(ŵ_s), and Σ_s α_s (ê̄_{s+1} - ê̄_s) is summed by parts. The unfolded form sends what
    was held back under an old step size at the present one; the folded one does not, and x - v stays the memory.

Source
    Karimireddy, Rebjock, Stich, Jaggi, Error Feedback Fixes SignSGD, 2019, arXiv 1901.09847, Algorithm 2, for the
    folded form; Seide et al., Interspeech 2014, for the unfolded one. The identities are proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from proofs_check import cases, hypotheses, record, statistics, two_samples
from proofs_check.cases import Case
from proofs_check.compression import specimens
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison

ID = "EC:I15"

FIRST_STEP_SIZE = 0.125

NumpyCompressor = Callable[[np.ndarray], np.ndarray]


def shrinking(count: jax.Array) -> jax.Array:
    """α_t = 0.125 / (1 + t)."""
    return FIRST_STEP_SIZE / (1.0 + count.astype(float))


class Unfolded(NamedTuple):
    """A run of the unfolded form."""

    views: np.ndarray
    """float64[S, T, d], parameter units. v̂_t."""
    params: np.ndarray
    """float64[S, T, d], parameter units. x̂_t."""
    memories: np.ndarray
    """float64[S, T, d], gradient units. ê̄_t, the mean over workers."""


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every synchronous setting with error feedback, at a constant step size and at one that shrinks.

    Args:
        step_size: α > 0 of the constant runs, a power of two, so that ties stay ties.
        max_tosses: coins of one run.
    """
    constant = specimens.with_memory(
        {label: specimens.PATHWISE[label] for label in JUDGES}, CURVED, step_size=step_size, max_tosses=max_tosses
    )
    checks = [_judge(case, "constant α", _same_views) for case in constant]
    forms = {"α_t, folded": _folded_gap, "α_t, unfolded": _unfolded_gap, "α_t, difference": _difference}
    for case in specimens.with_memory(SHRINKING, CURVED, step_size=shrinking, max_tosses=max_tosses):
        checks += [_judge(case, name, form) for name, form in forms.items()]
    return checks


def control() -> list[Check]:
    """The views taken for the same though α shrinks; the sum over its changes left out; the sign of e flipped."""
    curved = next(specimens.with_memory(SHRINKING, CURVED[:1], step_size=shrinking))
    flipped = curved._replace(trajectory=curved.trajectory._replace(memories=-_memories(curved)))
    return [
        record.planted(_judge(curved, "constant α", _same_views), "α shrinks in the unfolded form"),
        record.planted(_judge(curved, "α_t, unfolded", partial(_unfolded_gap, factor=0.0)), "no sum over changes of α"),
        record.planted(_judge(curved, "α_t, difference", partial(_difference, factor=0.0)), "no sum in the difference"),
        record.planted(_judge(flipped, "α_t, folded", _folded_gap), "the memory with the paper's sign"),
    ]


SHRINKING = {"top_k": specimens.PATHWISE["top_k"]}
CURVED = ("quadratic", "rational")
"""Objectives of `two_samples` whose gradients depend on the view."""


def _judge(case: Case, name: str, compare: Callable[[Case], Comparison]) -> Check:
    label = _label(case)
    assumed = [
        hypotheses.is_oblivious(case.trajectory),
        Hypothesis("all workers at one view", _is_shared(case), "synchronous"),
        Hypothesis("positively homogeneous", specimens.is_homogeneous(specimens.PATHWISE[label]), label),
    ]
    return case.judge(ID, name, "equality", assumed, compare)


def _label(case: Case) -> str:
    return next(label for label in JUDGES if f"({label})" in case.setting)


def _is_shared(case: Case) -> bool:
    return bool(np.all(case.trajectory.views == case.trajectory.views[:, :, :1]))


def _step_sizes(case: Case) -> np.ndarray:
    """α_t: float64[T]."""
    steps = np.arange(case.trajectory.num_steps)
    return np.full(len(steps), case.step_size) if case.step_size > 0 else FIRST_STEP_SIZE / (1.0 + steps)


def _memories(case: Case) -> np.ndarray:
    assert case.trajectory.memories is not None
    return case.trajectory.memories


def _unfolded(case: Case, *, has_own_gradients: bool = True) -> Unfolded:
    """The unfolded form on the samples of a run, with gradients at its own views, or those of the run.

    The noise of a gradient of `two_samples` does not depend on where it is taken.
    """
    run, compress = case.trajectory, JUDGES[_label(case)]
    coefficients = next(
        o.coefficients for name, o in two_samples.objectives().items() if f" on {name}," in case.setting
    )
    view = param = run.params[:, 0]
    memories = np.zeros_like(run.grads[:, 0])
    seen = []
    for t, step_size in enumerate(_step_sizes(case)):
        seen.append((view, param, memories.mean(axis=1)))
        grads = _slope(view, coefficients)[:, None] + run.noises[:, t] if has_own_gradients else run.grads[:, t]
        unsent = memories + grads
        sent = compress(unsent)
        memories = unsent - sent
        view = view - step_size * sent.mean(axis=1)
        param = param - step_size * grads.mean(axis=1)
    return Unfolded(*(np.stack(each, axis=1) for each in zip(*seen, strict=True)))


def _slope(x: np.ndarray, of: two_samples.Coefficients) -> np.ndarray:
    """∇f(x), by hand."""
    rational = of.rational * 2 * x / (1 + x * x) ** 2
    return of.curvature * x + of.log_cosh * np.tanh(x) + rational + of.slope


def _numpy_top_k(w: np.ndarray) -> np.ndarray:
    """The quarter of largest magnitude; ties go to the lowest index."""
    kept = w.shape[-1] // 4
    order = np.argsort(-np.abs(w), axis=-1, kind="stable")[..., :kept]
    sent = np.zeros_like(w)
    np.put_along_axis(sent, order, np.take_along_axis(w, order, axis=-1), axis=-1)
    return sent


def _numpy_scaled_sign(w: np.ndarray) -> np.ndarray:
    return np.abs(w).mean(axis=-1, keepdims=True) * np.where(w < 0, -1.0, 1.0)


JUDGES: dict[str, NumpyCompressor] = {"top_k": _numpy_top_k, "scaled_sign": _numpy_scaled_sign}
"""{label in `specimens.PATHWISE`: the same compressor in NumPy}."""


def _same_views(case: Case) -> Comparison:
    return _equal(case, case.trajectory.views[:, :, 0], _unfolded(case).views)


def _folded_gap(case: Case) -> Comparison:
    run = case.trajectory
    moves = _step_sizes(case)[None, :, None] * run.grads.mean(axis=2)
    params = run.params[:, :1] - np.concatenate([np.zeros_like(moves[:, :1]), np.cumsum(moves, axis=1)[:, :-1]], axis=1)
    return _equal(case, params - run.views[:, :, 0], _memories(case).mean(axis=2))


def _changes(case: Case, unfolded: Unfolded) -> np.ndarray:
    """Σ_{s=1}^{t} (α_s - α_{s-1}) ê̄_s: float64[S, T, d]."""
    changes = np.diff(_step_sizes(case), prepend=_step_sizes(case)[0])
    return np.cumsum(changes[None, :, None] * unfolded.memories, axis=1)


def _unfolded_gap(case: Case, factor: float = 1.0) -> Comparison:
    unfolded = _unfolded(case)
    held = -_step_sizes(case)[None, :, None] * unfolded.memories
    return _equal(case, unfolded.params - unfolded.views, held + factor * _changes(case, unfolded))


def _difference(case: Case, factor: float = 1.0) -> Comparison:
    unfolded = _unfolded(case, has_own_gradients=False)
    held = _step_sizes(case)[None, :, None] * unfolded.memories + _memories(case).mean(axis=2)
    differences = unfolded.views - case.trajectory.views[:, :, 0]
    return _equal(case, differences, held - factor * _changes(case, unfolded))


def _equal(case: Case, left: np.ndarray, right: np.ndarray) -> Comparison:
    return statistics.equal(left, right, scale=case.trajectory.scale, axes=("run", "t", "entry"))
