"""The one compiled loop: any number of steps of any algorithm, with what is measured on the way.

The number of steps is an argument of the program, not part of it: one compilation serves chunks of every length, and
since each step is computed by the same instructions whatever the chunk, so is each bit of the result. XLA keeps the
carried state in place; metrics go into buffers of fixed size that the host empties between chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from elastic_jax import devices, stacked
from elastic_jax.base import PyTree
from elastic_jax.metrics import Running, Total
from elastic_jax.run import buffers
from elastic_jax.run.program import Program, Shapes, carried_on, is_due, start_of, step, value_if_due, zeros_like


class Core(NamedTuple):
    """What the loop carries from step to step. With seeds every leaf but the first and the last is [S, ...]."""

    num_steps: Array
    """int32[]. Steps taken."""
    state: PyTree
    """The algorithm's state."""
    totals: dict[str, PyTree]
    """For each `Total`: what was added since the last measurement, a sum and its compensation; for each `Running`: what
    it carries."""
    losses: Array
    """float[k]: of the last step; zeros where they are not checked."""
    workers: Array
    """int32[k]: those of the last step."""
    num_failures: Array
    """int32[]: messages that were decoded wrongly so far, of all seeds."""


Carry: TypeAlias = tuple[Core, dict[str, PyTree]]


def start(program: Program, given: Shapes, state: PyTree) -> tuple[Core, dict[str, PyTree]]:
    """Core and buffers before the first step; their leaves are new."""
    totals = {
        name: (zeros_like(given.values[name]), zeros_like(given.values[name]))
        for name, metric in program.metrics
        if isinstance(metric.measure, Total)
    }
    for name, metric in program.metrics:
        if isinstance(metric.measure, Running):
            totals[name] = jax.tree.map(_repeated, start_of(metric), given.values[name])
    core = Core(
        num_steps=jnp.zeros((), jnp.int32),
        state=jax.tree.map(partial(jnp.array, copy=True), state),
        totals=totals,
        losses=zeros_like(given.losses),
        workers=zeros_like(given.workers),
        num_failures=jnp.zeros((), jnp.int32),
    )
    return core, buffers.make(program.metrics, given.values)


@lru_cache(maxsize=32)
def compiled(program: Program) -> Callable[..., tuple[Core, dict[str, PyTree], Array]]:
    """`advance` under `jit`, with core and buffers donated; one for each program, so that runs share it."""
    return jax.jit(partial(advance, program), donate_argnums=(0, 1))


@lru_cache(maxsize=32)
def compiled_probe(program: Program) -> Callable[..., tuple[Array, Array]]:
    """`probe` under `jit`; nothing is donated."""
    return jax.jit(partial(probe, program))


def probe(program: Program, keys: Array, core: Core, data: PyTree) -> tuple[Array, Array]:
    """The losses and workers of the step that comes next, without taking it."""
    info = step(program, keys, core.num_steps, core.state, data)[1]
    return info.losses, info.workers


def advance(
    program: Program,
    core: Core,
    rows: dict[str, PyTree],
    keys: Array,
    data: PyTree,
    begin: Array,
    end: Array,
    last: Array,
    may_stop: Array,
) -> tuple[Core, dict[str, PyTree], Array]:
    """Steps `core.num_steps`, ..., `end` - 1, or up to the first with a loss that is not finite.

    Args:
        program: what to compile.
        core: donated.
        rows: the buffers, donated; row 0 is the first measurement due in or after step `begin`.
        keys: key[] or key[2] of the run; with seeds key[S] or key[S, 2].
        data: what each step is given.
        begin: int32[]. The step at which the buffers were last emptied.
        end: int32[]. Where to stop.
        last: int32[]. The last step of the whole run, at which everything is measured.
        may_stop: bool[]. Whether to stop at a loss that is not finite.

    Returns:
        the new core and buffers, and the number of steps taken once more, for the host to wait for.
    """
    carry = lax.while_loop(
        partial(_goes_on, program, end, may_stop),
        partial(_measure_and_step, program, keys, data, begin, end, last, may_stop),
        (core, rows),
    )
    core, rows = _kept_in_place(program, *carry)
    return core, rows, jnp.copy(core.num_steps)


def _goes_on(program: Program, end: Array, may_stop: Array, carry: Carry) -> Array:
    core = carry[0]
    if not program.is_checked:
        return core.num_steps < end
    return (core.num_steps < end) & (jnp.all(jnp.isfinite(core.losses)) | ~may_stop)


def _measure_and_step(
    program: Program,
    keys: Array,
    data: PyTree,
    begin: Array,
    end: Array,
    last: Array,
    may_stop: Array,
    carry: Carry,
) -> Carry:
    """What is measured apart at this step, if anything is, then steps up to the next such; or just one step."""
    core, rows = carry
    apart = [(name, metric) for name, metric in program.metrics if name in program.apart]
    one_step = partial(_step, program, keys, data, begin, last)
    if not apart:
        return one_step(carry)
    t = core.num_steps
    is_any_due = jnp.any(jnp.stack([is_due(metric, t, last) for _, metric in apart]))
    # a loop of at most one pass that hands the state through: a condition would copy it
    _, core, rows = lax.while_loop(
        _is_pending, partial(_measure_apart, program, keys, data, begin, last), (is_any_due, core, rows)
    )
    next_due = jnp.minimum(end, jnp.where(t < last, last, end))
    for _, metric in apart:
        # written so that it cannot overflow
        next_due = t + jnp.minimum(next_due - t, metric.every - t % metric.every)
    return lax.while_loop(partial(_goes_on, program, next_due, may_stop), one_step, (core, rows))


def _is_pending(carry: tuple[Array, Core, PyTree]) -> Array:
    return carry[0]


def _measure_apart(
    program: Program, keys: Array, data: PyTree, begin: Array, last: Array, carry: tuple[Array, Core, PyTree]
) -> tuple[Array, Core, PyTree]:
    """All that is measured apart and due, from one evaluation of the step."""
    _, core, rows = carry
    t = core.num_steps
    new_state, info = step(program, keys, t, core.state, data)
    written = {}
    for name, metric in program.metrics:
        if name in program.apart:
            value = value_if_due(program, metric, t, last, keys, core.state, new_state, info, data)
            written[name] = stacked.put_row(rows[name], buffers.num_rows(metric.every, begin, t), value)
    # the barrier keeps the state a value that the loop carries, in place; as its constant it would be copied, twice
    return jnp.zeros((), bool), lax.optimization_barrier(core), {**rows, **written}


def _step(program: Program, keys: Array, data: PyTree, begin: Array, last: Array, carry: Carry) -> Carry:
    """One step, and what is measured within it."""
    core, rows = carry
    t = core.num_steps
    new_state, info = step(program, keys, t, core.state, data)
    totals, written = {}, {}
    for name, metric in program.metrics:
        if name in program.apart:
            continue
        if isinstance(metric.measure, Running):
            value = carried_on(program, metric, t, core.totals[name], keys, core.state, new_state, info, data)
            totals[name] = value
        else:
            value = value_if_due(program, metric, t, last, keys, core.state, new_state, info, data)
        if isinstance(metric.measure, Total):
            value = _add(core.totals[name], value)
            high, low = (jnp.where(t % metric.every == 0, jnp.zeros_like(part), part) for part in value)
            totals[name] = (high, low)
        # without a condition, so that it stays in place
        written[name] = stacked.put_row(rows[name], buffers.num_rows(metric.every, begin, t), value)
    new_core = Core(
        num_steps=t + 1,
        state=new_state,
        totals=totals,
        losses=info.losses if program.is_checked else core.losses,
        workers=info.workers if program.is_checked else core.workers,
        num_failures=core.num_failures + jnp.sum(info.num_failures, dtype=jnp.int32),
    )
    return _kept_in_place(program, new_core, {**rows, **written})


def _repeated(value: Array, shape: Any) -> Array:
    """A value for every seed, if there are any: [...] -> [...] or [S, ...]."""
    return jnp.array(jnp.broadcast_to(value, shape.shape), copy=True)


def _kept_in_place(program: Program, core: Core, rows: dict[str, PyTree]) -> Carry:
    """Core and buffers where `devices.place` put them, so that the next chunk needs no other program."""
    if program.mesh is None:
        return core, rows
    placed = devices.shardings(core, program.mesh), devices.shardings(rows, program.mesh)
    return lax.with_sharding_constraint((core, rows), placed)


def _add(total: tuple[Array, Array], value: Array) -> tuple[Array, Array]:
    """Knuth's two-sum: the rounding error of the sum is kept beside it."""
    old, compensation = total
    new = old + value
    virtual = new - old
    return new, compensation + ((old - (new - virtual)) + (value - virtual))
