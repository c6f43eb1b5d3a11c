"""Read models: which of the last writes to a shared memory a read does not see, coordinate by coordinate.

A process reads the memory entry by entry while others write to it. What it gets lacks, of each of the last τ writes,
some coordinates: any, if reads are inconsistent; all or none, if they are consistent. Reads are drawn from the key of
the schedule, never from that of the samples: the schedule is oblivious. One model is not, `largest`: an adversary,
who says so. The worst case of all models with the same τ is `oldest(τ)`: nothing of the last τ writes is ever seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import arguments, base, stacked
from elastic_jax.compressors.selection import largest as largest_entries
from elastic_jax.compressors.sparsifiers import num_kept

PyTree = Any


class ReadModel(NamedTuple):
    """A read model; `reads.ages(4)` and its siblings make one."""

    draw: Callable[[Array, Array, PyTree], PyTree]
    """`draw(key, step int32[], writes [τ, ...]) -> bool[τ, ...]`: what is unseen. Row a - 1 is the write of age a, the
    last one has age 1; an oblivious model looks at the shapes of the writes alone."""
    max_delay: int
    """τ: the age of the oldest write that may be unseen, steps."""
    is_adaptive: bool = False
    """True if reads depend on what is written: then the schedule is not oblivious."""


def ages(max_delay: int) -> ReadModel:
    """Every coordinate misses its last a writes, a uniform on {0, ..., max_delay}, one age for each coordinate.

    Made of 16 random bits: each age has the same probability to within 2^-16.
    """
    max_delay = arguments.integer("max_delay", max_delay, low=0, high=MOST_AGES)
    return ReadModel(partial(_ages, max_delay=max_delay), max_delay)


def masks(max_delay: int, rate: float) -> ReadModel:
    """Each of the last `max_delay` >= 0 writes is unseen in each coordinate with probability `rate`, independently.

    Made of 32 random bits: the probability is `rate` to within 2^-32.

    Args:
        max_delay: >= 0, steps.
        rate: in [0, 1].
    """
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    rate = arguments.real("rate", rate, low=0.0, high=1.0)
    return ReadModel(partial(_masks, rate=rate), max_delay)


def whole(max_delay: int) -> ReadModel:
    """A consistent read: the last a writes are unseen in all coordinates, a uniform on {0, ..., max_delay}."""
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    return ReadModel(partial(_whole, max_delay=max_delay), max_delay)


def oldest(max_delay: int) -> ReadModel:
    """The worst case: nothing of the last `max_delay` >= 0 writes is ever seen."""
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    return ReadModel(_oldest, max_delay)


def alternating(max_delay: int) -> ReadModel:
    """In odd steps nothing of the last `max_delay` >= 0 writes is seen, in even ones everything."""
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    return ReadModel(_alternating, max_delay)


def largest(max_delay: int, fraction: float) -> ReadModel:
    """An adversary: of each of the last `max_delay` >= 0 writes the coordinates of largest magnitude are unseen.

    It looks at what is written, so the schedule is not oblivious: bounds that hold for every run remain, those that
    rest on independent noise do not.

    Args:
        max_delay: >= 0, steps.
        fraction: in (0, 1], of the coordinates of the whole model, rounded up.
    """
    max_delay = arguments.integer("max_delay", max_delay, low=0)
    fraction = arguments.fraction("fraction", fraction)
    return ReadModel(partial(_largest, fraction=fraction), max_delay, is_adaptive=True)


def trace(recorded: Any) -> ReadModel:
    """Replays recorded reads, starting again from the first row after the last.

    Args:
        recorded: bool[num_steps, max_delay, d], True is unseen; ages from 1 on, and the entries of all leaves of the
            parameters in the order of the tree.
    """
    table = np.asarray(recorded)
    if table.ndim != 3 or not len(table) or not table.shape[2] or table.dtype != np.bool_:
        raise ValueError(
            f"recorded has shape {table.shape} and dtype {table.dtype}; it must be booleans of shape "
            "[num_steps, max_delay, d]"
        )
    return ReadModel(partial(_trace, recorded=table), table.shape[1])


def record(model: ReadModel, key: Array, *, num_steps: int, params: PyTree) -> np.ndarray:
    """The reads that a run with this key makes, for `trace` to replay.

    Args:
        model: any that is oblivious.
        key: of the run, as `run.run` and `base.step_key` take it.
        num_steps: T >= 1.
        params: [...]; only shapes matter.

    Returns:
        bool[T, τ, d].
    """
    check_fits(arguments.instance("model", model, ReadModel, "e.g. reads.ages(4)"), params)
    if model.is_adaptive:
        raise ValueError("model = one that looks at what is written; it must be oblivious to be recorded without a run")
    num_steps = arguments.integer("num_steps", num_steps, low=1)
    if not model.max_delay:
        return np.zeros((num_steps, 0, stacked.num_elements(params)), bool)
    writes = stacked.broadcast(params, model.max_delay)

    def draw(step: Array) -> Array:
        return _flatten(model.draw(base.split_key(base.step_key(key, step)).schedule, step, writes))

    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(num_steps, dtype=jnp.int32)))


def check(reads: ReadModel | None) -> ReadModel:
    """`reads`, or `ages(4)` for None; raises `TypeError` for anything else."""
    return ages(4) if reads is None else arguments.instance("reads", reads, ReadModel, "e.g. reads.ages(4)")


def check_fits(reads: ReadModel, params: PyTree) -> None:
    """Raise `ValueError` unless a recorded model has as many coordinates as `params`."""
    recorded = getattr(reads.draw, "keywords", {}).get("recorded")
    num_elements = stacked.num_elements(params)
    if recorded is not None and recorded.shape[2] != num_elements:
        raise ValueError(
            f"reads = a trace of {recorded.shape[2]} coordinates; it must have as many as the parameters, "
            f"{num_elements}"
        )


def newest_first(writes: PyTree, num_steps: Array, *, max_delay: int) -> PyTree:
    """The writes by age: of a ring [τ, ...], in which write s is at slot s mod τ, row a - 1 is write num_steps - a."""
    write_ages = jnp.arange(1, max_delay + 1, dtype=jnp.int32)
    return stacked.take_rows(writes, (num_steps - write_ages) % max(max_delay, 1))


def view(params: PyTree, writes: PyTree, unseen: PyTree, *, max_delay: int) -> PyTree:
    """Σ_a D_a w_a subtracted from `params` [...], D_a keeping what is unseen of the write of age a: -> [...].

    Write by write in a loop: a sum over the axis of the ring is fifty times as slow, and what is unseen is drawn before
    the loop, once, instead of again wherever the view is used.
    """

    def hide(row: Array, params: PyTree) -> PyTree:
        return jax.tree.map(
            lambda leaf, write, hidden: leaf - jnp.where(hidden[row], write[row], 0), params, writes, unseen
        )

    return lax.fori_loop(0, max_delay, hide, params) if max_delay else params


def staleness(unseen: PyTree, num_steps: Array, *, max_delay: int) -> Array:
    """int32[], steps: the age of the oldest write of which any coordinate is unseen, 0 if there is none."""
    write_ages = jnp.arange(1, max_delay + 1, dtype=jnp.int32)
    rows = [jnp.any(leaf.reshape(max_delay, -1), axis=1) for leaf in jax.tree.leaves(unseen)]
    is_unseen = reduce(jnp.logical_or, rows, write_ages <= 0)
    return jnp.max(jnp.where(is_unseen & (write_ages <= num_steps), write_ages, 0), initial=0)


MOST_AGES = (1 << 16) - 2
"""The largest age that is drawn as a number of 16 bits."""


def _leaf_keys(key: Array, writes: PyTree) -> PyTree:
    leaves, treedef = jax.tree.flatten(writes)
    return jax.tree.unflatten(treedef, [jax.random.fold_in(key, number) for number in range(len(leaves))])


def _ages(key: Array, step: Array, writes: PyTree, *, max_delay: int) -> PyTree:
    del step

    def of_leaf(leaf: Array, key: Array) -> Array:
        # ⌊(τ + 1) b / 2^16⌋ of 16 bits costs a third of randint
        bits = jax.random.bits(key, leaf.shape[1:], jnp.uint16).astype(jnp.uint32)
        drawn = ((bits * jnp.uint32(max_delay + 1)) >> 16).astype(jnp.uint16)
        # age by age in a loop: in one expression XLA draws the bits anew for each
        return lax.map(lambda age: drawn >= age, jnp.arange(1, max_delay + 1, dtype=jnp.uint16))

    return jax.tree.map(of_leaf, writes, _leaf_keys(key, writes))


def _masks(key: Array, step: Array, writes: PyTree, *, rate: float) -> PyTree:
    if rate == 1:
        return _oldest(key, step, writes)
    # as numbers of 32 bits: made into floats first they cost half as much again
    below = jnp.uint32(int(rate * 2**32))
    return jax.tree.map(
        lambda leaf, key: jax.random.bits(key, leaf.shape, jnp.uint32) < below, writes, _leaf_keys(key, writes)
    )


def _whole(key: Array, step: Array, writes: PyTree, *, max_delay: int) -> PyTree:
    del step
    age = jax.random.randint(key, (), 0, max_delay + 1, jnp.int32)
    return _of_rows(age >= jnp.arange(1, max_delay + 1, dtype=jnp.int32), writes)


def _oldest(key: Array, step: Array, writes: PyTree) -> PyTree:
    del key, step
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), writes)


def _alternating(key: Array, step: Array, writes: PyTree) -> PyTree:
    del key
    return jax.tree.map(lambda leaf: jnp.broadcast_to(step % 2 == 1, leaf.shape), writes)


def _largest(key: Array, step: Array, writes: PyTree, *, fraction: float) -> PyTree:
    del key, step
    magnitudes = jnp.abs(_flatten(writes))
    num_elements = magnitudes.shape[1]
    chosen = partial(largest_entries, k=num_kept(fraction, num_elements))
    return _unflatten(stacked.map_rows(chosen, magnitudes, in_turn=True), writes)


def _trace(key: Array, step: Array, writes: PyTree, *, recorded: np.ndarray) -> PyTree:
    del key
    return _unflatten(jnp.asarray(recorded)[step % recorded.shape[0]], writes)


def _of_rows(is_unseen: Array, writes: PyTree) -> PyTree:
    """bool[τ], each for all coordinates of a write."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(is_unseen.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.shape), writes
    )


def _flatten(rows: PyTree) -> Array:
    """[τ, ...] -> [τ, d]; leaves may differ in dtype."""
    leaves = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(rows)]
    with jax.numpy_dtype_promotion("standard"):
        return jnp.concatenate(leaves, axis=1)


def _unflatten(flat: Array, rows: PyTree) -> PyTree:
    """[τ, d] -> [τ, ...] as `rows`; the dtype is that of `flat`."""
    leaves, treedef = jax.tree.flatten(rows)
    ends = np.cumsum([leaf.size // leaf.shape[0] for leaf in leaves]).tolist()
    parts = [
        flat[:, end - leaf.size // leaf.shape[0] : end].reshape(leaf.shape)
        for leaf, end in zip(leaves, ends, strict=True)
    ]
    return jax.tree.unflatten(treedef, parts)
