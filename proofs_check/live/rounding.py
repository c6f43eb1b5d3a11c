"""How far rounding may carry two sides of a statement apart, in the dtype of the run: derived, not tuned.

One operation rounds its result to half an eps of its own size. With s the largest magnitude, in a leaf of the
parameters, of all that one step holds and sends, two ways to the same numbers differ by at most

    ALLOWANCE · eps · s         eight operations on numbers of up to 4 s, half an eps each
    + 2 · num_terms · eps · s   the sums on both sides: one of m terms with weights w is off by (m / 2) eps s Σ|w|
    + drift                     where a side is a sum that is kept from the start: what all steps before have added

in that leaf. The first two forget what was before, so they are as sharp in the last step of a run as in the first.
Squared norms are sums over d numbers, formed in blocks: they are off by λ √d eps of themselves, λ = 8 (Higham and
Mary, A new approach to probabilistic rounding error analysis, 2019).
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import stacked
from elastic_jax.base import PyTree
from elastic_jax.metrics import Moment

ALLOWANCE = 16
"""Half eps of 4 s, eight times."""

OF_NORMS = 8
"""λ: a sum of d squares is farther off than λ √d eps with a probability of at most 2 exp(-λ² / 2) = 3e-14."""

KEPT = (
    "params",
    "received_params",
    "history",
    "snapshots",
    "local_params",
    "lost_params",
    "pushed_params",
    "estimates",
)
"""Fields of a state that are of the size of the parameters."""

SENT = ("memories", "writes", "pendings", "messages", "stand_ins")
"""Fields of a state that are of the size of updates."""


class Step(NamedTuple):
    """A step of a run, how large its numbers are, and what came before it."""

    moment: Moment
    sizes: PyTree
    """float32[] for each leaf of the parameters: the largest magnitude in x_t, x_{t+1}, both states and the updates."""
    largest_grad: Array
    """float32[], squared gradient units. max ‖g‖² of this step and of all before it."""
    drift: Array
    """float32[], parameter units. What rounding may have added, up to here, to a sum kept from the start."""


class Comparison(NamedTuple):
    """What came of comparing two sides in one step."""

    ratio: Array
    """float32[]. The difference of both sides, or the smaller one, by what is allowed: above 1 it is violated; NaN
    is violated, too."""
    is_measured: Array
    """bool[]. Whether the comparison could have failed: False where x is not finite, or both sides are zero."""


def look(moment: Moment, largest_grad: Array, drift: Array) -> Step:
    """The step, with what is known of all before it: `largest_grad` and `drift`, both float32[]."""
    info = moment.info
    updates = only_used(info.workers, info.updates)
    grads = only_used(info.workers, info.grads)
    kept = [moment.params, moment.new_params, *_fields(moment, KEPT)]
    sent = [updates, *_fields(moment, SENT)]
    of_kept, of_sent = (_largest_in_each(trees) for trees in (kept, sent))
    # one rounding of x and one of a copy of it, half an eps each; and of what is added to both
    added = eps(moment.params) * (_greatest(of_kept) + num_terms(moment) * _greatest(of_sent))
    return Step(
        moment=moment,
        sizes=jax.tree.unflatten(
            jax.tree.structure(moment.params), [jnp.maximum(*both) for both in zip(of_kept, of_sent, strict=True)]
        ),
        largest_grad=jnp.maximum(largest_grad, jnp.max(stacked.norms_sq(grads)).astype(jnp.float32)),
        drift=drift + added,
    )


def num_terms(moment: Moment) -> float:
    """Terms in the sums that x_t, a view and the sum of updates are, each counted with the total of its weights."""
    state, k = moment.state, moment.info.workers.shape[0]
    found = float(k)
    if _has(state, "memories"):
        n = stacked.num_rows(state.memories)
        found += n * n / k  # (1/k) Σ_i e^i
    for name in ("pendings", "local_params", "pushed_params"):
        if _has(state, name):
            found += stacked.num_rows(getattr(state, name))
    if _has(state, "writes"):
        found += stacked.num_rows(state.writes) ** 2
    if _has(state, "messages"):
        num_slots, n = jax.tree.leaves(state.messages)[0].shape[:2]
        found += num_slots**2 * n  # (1/n) Σ over slots and senders
    return found


def close(step: Step, difference: PyTree, *, num_terms: float = 0.0, drift: Array | float = 0.0) -> Comparison:
    """Both sides of an equality agree: their difference is what rounding explains, in every leaf.

    Args:
        step: the step.
        difference: [...] or [k, ...], with the leaves of the parameters.
        num_terms: 0 where no sums over workers, messages or steps are formed; else `num_terms(moment)`.
        drift: parameter units; 0 where both sides are formed within the step, else `step.drift`.
    """
    leaves, sizes = jax.tree.leaves(difference), jax.tree.leaves(step.sizes)
    residuals = [_largest(leaf) for leaf in leaves]
    allowed = []
    for leaf, size in zip(leaves, sizes, strict=True):
        limits = jnp.finfo(leaf.dtype)
        relative = (ALLOWANCE + 2 * num_terms) * float(limits.eps)
        allowed.append(relative * size + drift + 1e3 * float(limits.tiny))
    ratios = [residual / most for residual, most in zip(residuals, allowed, strict=True)]
    is_measured = jnp.isfinite(_greatest(sizes)) & ~((_greatest(sizes) == 0) & (_greatest(residuals) == 0))
    return Comparison(_greatest(ratios), is_measured)


def at_most(measured: Array, claimed: Array, params: PyTree, *, scale: Array | float = 0.0) -> Comparison:
    """`measured` <= `claimed`, two arrays of squared norms (or of values), at every place.

    Args:
        measured: float[...].
        claimed: float[...].
        params: [...], whose number of entries and dtypes tell how far a sum over them may be off.
        scale: the size of what either side was formed from by cancellation.
    """
    relative = OF_NORMS * stacked.num_elements(params) ** 0.5 * eps(params)
    tiny = max(float(jnp.finfo(leaf.dtype).tiny) for leaf in jax.tree.leaves(params))
    with jax.numpy_dtype_promotion("standard"):
        allowed = claimed + relative * (jnp.abs(claimed) + scale) + 1e3 * tiny
        ratios = jnp.where(measured <= 0, 0.0, measured / allowed).astype(jnp.float32)
    is_finite = jnp.all(jnp.isfinite(allowed))
    return Comparison(jnp.max(ratios), is_finite & jnp.any((measured != 0) | (claimed != 0)))


def holds(is_so: Array) -> Comparison:
    """Something that is so, or is not: bool[]."""
    return Comparison(jnp.where(is_so, 0.0, jnp.inf).astype(jnp.float32), jnp.ones((), bool))


def worst(*found: Comparison) -> Comparison:
    """All of them at once: the largest ratio, a NaN before all others, of those that could have failed."""
    ratios = [jnp.where(one.is_measured, one.ratio, 0.0) for one in found]
    return Comparison(_greatest(ratios), reduce(jnp.logical_or, [one.is_measured for one in found]))


def only_used(workers: Array, rows: PyTree) -> PyTree:
    """Rows [k, ...] with 0 in the slots that nobody uses, where they mean nothing."""

    def of_leaf(leaf: Array) -> Array:
        is_used = (workers >= 0).reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(is_used, leaf, jnp.zeros((), leaf.dtype))

    return jax.tree.map(of_leaf, rows)


def _has(state: Any, name: str) -> bool:
    return bool(jax.tree.leaves(getattr(state, name, ())))


def _fields(moment: Moment, names: tuple[str, ...]) -> list[PyTree]:
    structure: Any = jax.tree.structure(moment.params)
    found = [getattr(state, name, ()) for state in (moment.state, moment.new_state) for name in names]
    return [field for field in found if jax.tree.structure(field) == structure]


def _largest_in_each(trees: list[PyTree]) -> list[Array]:
    """For each leaf of the parameters the largest magnitude in any of the trees."""
    leaves = [[_largest(leaf) for leaf in jax.tree.leaves(tree)] for tree in trees]
    return [_greatest(list(sizes)) for sizes in zip(*leaves, strict=True)]


def _largest(leaf: Array) -> Array:
    return jnp.max(jnp.abs(leaf), initial=0).astype(jnp.float32)


def _greatest(numbers: list[Array]) -> Array:
    return reduce(jnp.maximum, numbers)


def eps(params: PyTree) -> float:
    """The largest eps of their dtypes: 1.2e-7 in float32."""
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(params))
