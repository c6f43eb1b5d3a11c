"""Barriers: for what a worker waits before it goes on, of what is on its way to it in a round.

Pieces come one after the other. A piece is the message of one worker, or one layer (one leaf of the parameters) of the
mean over all workers. A barrier opens when its rule holds for the pieces that are in; the others are late, and come
before the next barrier. The fraction β of the own-norm rules is what must have been *received*: 1 waits for everything,
0 for nothing. That of `missing_norm` is what may be *missing*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments, stacked

PyTree = Any
PIECES = ("workers", "layers")
ORDERS = ("random", "reverse", "largest_last")


class Barrier(NamedTuple):
    """A barrier; `barriers.own_norm_squared(0.5)` and its siblings make one."""

    received: Callable[[Array, Array, PyTree], Array]
    """`received(key, step int32[], updates [n, ...]) -> bool[n, num_pieces]`: what each worker has when it goes on."""
    over: str
    """What a piece is: "workers" or "layers"."""
    missing_of_own: Callable[[int], float] | None
    """m -> c, for m layers: the late layers hold at most c of the norm of a worker's *own* update; None if the rule
    promises nothing of the kind."""
    missing_of_all: float
    """c: what is late holds at most c of the norm of *all* of it."""
    is_adaptive: bool
    """True if the rule or the order looks at what is sent: then the schedule is not oblivious."""


def everything(*, over: str = "workers") -> Barrier:
    """Waits for every piece: synchronous SGD."""
    arguments.one_of("over", over, PIECES)
    return Barrier(partial(_everything, over=over), over, _nothing, 0.0, is_adaptive=False)


def number(fraction: float, *, over: str = "workers", order: str = "random") -> Barrier:
    """Waits for ⌈fraction · m⌉ of the m pieces, whatever is in them.

    Args:
        fraction: in [0, 1].
        over: "workers": messages of workers, a worker's own always among those received; or "layers".
        order: in which pieces come. "random": another order for each worker and step. "reverse": from the last to the
            first, as back-propagation makes the layers of a gradient. "largest_last": the adversary's, by norm.
    """
    return _make(_enough_pieces, fraction, over, order, missing_of_own=None, looks=False)


def own_norm_sum(fraction: float, *, over: str = "layers", order: str = "reverse") -> Barrier:
    """Waits until the norms of what has come add up to `fraction` of what the worker's own update makes it expect.

    Layers: Σ_{l received} a_l >= β Σ_l a_l with a_l the norm of layer l of the worker's own update. Workers:
    Σ_{j received} ‖u^j‖ >= β n ‖u^i‖.

    Args:
        fraction: β in [0, 1].
        over: "workers" or "layers", as in `number`.
        order: as in `number`.

    Source: the rule for layers is that of the public code of Elastic Consistency (I. Markov, 2020), read there.
    """
    made = _make(_enough_norm, fraction, over, order, missing_of_own=partial(_of_sum, fraction=fraction), looks=True)
    return everything(over=over) if fraction == 1 else made


def own_norm_squared(fraction: float, *, over: str = "layers", order: str = "reverse") -> Barrier:
    """The same with squared norms, which add up to the squared norm of the whole: Σ a_l² >= β Σ_l a_l².

    Args:
        fraction: β in [0, 1].
        over: "workers" or "layers", as in `number`.
        order: as in `number`.
    """
    of_own = partial(_of_squares, fraction=fraction)
    made = _make(_enough_square, fraction, over, order, missing_of_own=of_own, looks=True)
    return everything(over=over) if fraction == 1 else made


def missing_norm(fraction: float, *, over: str = "workers", order: str = "random") -> Barrier:
    """Waits until the sum of what is late has at most `fraction` of the norm of the whole sum: an oracle's rule.

    No machine knows what it has not received; a simulation does.

    Args:
        fraction: β in [0, 1]; 0 waits for everything.
        over: "workers" or "layers", as in `number`.
        order: as in `number`.
    """
    made = _make(_little_missing, fraction, over, order, missing_of_own=None, looks=True)
    return everything(over=over) if fraction == 0 else made._replace(missing_of_all=float(fraction))


def trace(recorded: Any, *, over: str = "workers") -> Barrier:
    """Replays what was received, starting again from the first row after the last.

    Args:
        recorded: bool[num_steps, num_workers, num_pieces].
        over: what a piece is.
    """
    arguments.one_of("over", over, PIECES)
    table = np.asarray(recorded)
    if table.ndim != 3 or not table.size or table.dtype != bool:
        raise ValueError(
            f"recorded has shape {table.shape} and dtype {table.dtype}; it must be bool[num_steps, num_workers, "
            "num_pieces]"
        )
    if over == "workers" and (table.shape[1] != table.shape[2] or not np.diagonal(table, axis1=1, axis2=2).all()):
        raise ValueError(
            f"recorded has shape {table.shape}; over workers it must be [num_steps, num_workers, num_workers], and a "
            "worker must have its own"
        )
    return Barrier(partial(_trace, recorded=table), over, None, 1.0, is_adaptive=False)


def check_fits(barrier: Barrier, *, num_workers: int) -> Barrier:
    """`barrier`, whose recording, if it has one, must be of `num_workers`."""
    arguments.instance("barrier", barrier, Barrier, "e.g. barriers.own_norm_squared(0.5)")
    recorded = getattr(barrier.received, "keywords", {}).get("recorded")
    if recorded is not None and recorded.shape[1] != num_workers:
        raise ValueError(f"barrier = a trace of {recorded.shape[1]} workers; it must have num_workers = {num_workers}")
    return barrier


Rule = Callable[..., Array]
"""`rule(coming int32[n, m], updates, over=, fraction=) -> bool[n, m + 1]`: does it hold after 0, 1, ..., m pieces."""


def _make(
    rule: Rule,
    fraction: float,
    over: str,
    order: str,
    *,
    missing_of_own: Callable[[int], float] | None,
    looks: bool,
) -> Barrier:
    fraction = arguments.real("fraction", fraction, low=0.0, high=1.0)
    arguments.one_of("over", over, PIECES)
    arguments.one_of("order", order, ORDERS)
    received = partial(_received, rule=rule, fraction=fraction, over=over, order=order)
    of_own = missing_of_own if over == "layers" else None
    return Barrier(received, over, of_own, 1.0, is_adaptive=looks or order == "largest_last")


def _received(key: Array, step: Array, updates: PyTree, *, rule: Rule, fraction: float, over: str, order: str) -> Array:
    """The pieces before the first at which the rule holds, in the order in which they come."""
    del step
    coming = _order(key, updates, over=over, order=order)
    holds = rule(coming, updates, over=over, fraction=fraction)
    holds = holds.at[:, -1].set(True)
    if over == "workers":
        holds = holds.at[:, 0].set(False)  # a worker always has its own
    num_awaited = jnp.argmax(holds, axis=1)
    return jnp.argsort(coming, axis=1) < num_awaited[:, None]


def _order(key: Array, updates: PyTree, *, over: str, order: str) -> Array:
    """int32[n, m]: the pieces of each worker as they come; over workers, its own first."""
    norms = jnp.sqrt(_squares(updates, over=over))
    n, m = norms.shape
    if order == "random":
        coming = jax.vmap(lambda one: jax.random.uniform(one, (m,), jnp.float32))(
            stacked.worker_keys(key, jnp.arange(n, dtype=jnp.int32))
        ).astype(norms.dtype)
    elif order == "reverse":
        coming = jnp.broadcast_to(-jnp.arange(m, dtype=norms.dtype), (n, m))
    else:
        coming = norms
    if over == "workers":
        coming = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, coming)
    return jnp.argsort(coming, axis=1)


def _squares(updates: PyTree, *, over: str) -> Array:
    """‖·‖² of every piece as worker i knows it: that of sender j, or that of layer l of its own update: [n, m]."""
    if over == "workers":
        squares = stacked.norms_sq(updates)
        return jnp.broadcast_to(squares, (squares.shape[0], squares.shape[0]))
    with jax.numpy_dtype_promotion("standard"):  # layers may differ in dtype
        return jnp.stack([stacked.norms_sq([leaf]) for leaf in jax.tree.leaves(updates)], axis=1)


def _running(values: Array, coming: Array) -> Array:
    """Sums over the first 0, 1, ..., m pieces that come: [n, m] -> [n, m + 1]."""
    sums = jnp.cumsum(jnp.take_along_axis(values, coming, axis=1), axis=1)
    return jnp.concatenate([jnp.zeros((values.shape[0], 1), values.dtype), sums], axis=1)


def _expected(values: Array, *, over: str) -> Array:
    """What all pieces add up to, by what worker i has of its own: [n, m] -> [n]."""
    return values.shape[1] * jnp.diagonal(values) if over == "workers" else jnp.sum(values, axis=1)


def _enough_pieces(coming: Array, updates: PyTree, *, over: str, fraction: float) -> Array:
    del updates, over
    n, m = coming.shape
    return jnp.broadcast_to(jnp.arange(m + 1) >= math.ceil(fraction * m - 1e-9), (n, m + 1))


def _enough_norm(coming: Array, updates: PyTree, *, over: str, fraction: float) -> Array:
    norms = jnp.sqrt(_squares(updates, over=over))
    return _running(norms, coming) >= fraction * _expected(norms, over=over)[:, None]


def _enough_square(coming: Array, updates: PyTree, *, over: str, fraction: float) -> Array:
    squares = _squares(updates, over=over)
    return _running(squares, coming) >= fraction * _expected(squares, over=over)[:, None]


def _little_missing(coming: Array, updates: PyTree, *, over: str, fraction: float) -> Array:
    """‖Σ of what is late‖² <= β² ‖Σ of all‖² after 0, 1, ..., m pieces."""
    m = coming.shape[1]
    is_late = jnp.argsort(coming, axis=1)[:, None, :] >= jnp.arange(m + 1)[None, :, None]
    if over == "workers":
        gram = stacked.gram(updates)
        late = is_late.astype(gram.dtype)
        missing = jnp.einsum("nms,st,nmt->nm", late, gram, late)
    else:
        of_mean = _squares(jax.tree.map(lambda leaf: leaf[None], stacked.worker_mean(updates)), over=over)
        missing = jnp.einsum("nml,l->nm", is_late.astype(of_mean.dtype), of_mean[0])
    return missing <= fraction**2 * missing[:, :1]


def _everything(key: Array, step: Array, updates: PyTree, *, over: str) -> Array:
    del key, step
    leaves = jax.tree.leaves(updates)
    n = stacked.num_rows(updates)
    return jnp.ones((n, n if over == "workers" else len(leaves)), bool)


def _trace(key: Array, step: Array, updates: PyTree, *, recorded: np.ndarray) -> Array:
    del key, updates
    return jnp.asarray(recorded)[step % recorded.shape[0]]


def _nothing(num_layers: int) -> float:
    del num_layers
    return 0.0


def _of_sum(num_layers: int, *, fraction: float) -> float:
    """‖P_U g‖ <= Σ_U a_l <= (1 - β) Σ_l a_l <= (1 - β) √m ‖g‖."""
    return float((1 - fraction) * num_layers**0.5)


def _of_squares(num_layers: int, *, fraction: float) -> float:
    """‖P_U g‖² = Σ_U a_l² <= (1 - β) ‖g‖²."""
    del num_layers
    return float((1 - fraction) ** 0.5)
