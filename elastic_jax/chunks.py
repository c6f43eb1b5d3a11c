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
from jax.extend.core import Var
from jax.sharding import Mesh

from elastic_jax import base, buffers, devices, stacked
from elastic_jax.base import Algorithm, Info, PyTree
from elastic_jax.metrics import Metric, Moment, Total

APART = 8
"""From this cadence on the metrics of the cheapest steps are measured apart, see `names_apart`."""


class Program(NamedTuple):
    """What is compiled; everything else is an argument of it."""

    algorithm: Algorithm
    metrics: tuple[tuple[str, Metric], ...]
    is_batched: bool
    """Whether states and keys have a seed axis first, [S, ...]."""
    is_checked: bool
    """Whether each step's losses are computed, so that the loop can stop at the first that is not finite."""
    mesh: Mesh | None
    apart: tuple[str, ...] = ()
    """The metrics that are measured apart, see `names_apart`."""


class Core(NamedTuple):
    """What the loop carries from step to step. With seeds every leaf but the first is [S, ...]."""

    num_steps: Array
    """int32[]. Steps taken."""
    state: PyTree
    """The algorithm's state."""
    totals: dict[str, tuple[Array, Array]]
    """For each `Total`: what was added since the last measurement, a sum and its compensation."""
    losses: Array
    """float[k]: of the last step; zeros where they are not checked."""
    workers: Array
    """int32[k]: those of the last step."""


Carry: TypeAlias = tuple[Core, dict[str, PyTree]]


def step(program: Program, keys: Array, num_steps: Array, state: PyTree, data: PyTree) -> tuple[PyTree, Info]:
    """Step number `num_steps`, of one run or of all seeds."""
    algorithm = program.algorithm
    if program.is_batched:
        keys = jax.vmap(base.step_key, (0, None))(keys, num_steps)
        return jax.vmap(algorithm.step, (0, 0, None))(keys, state, data)
    return algorithm.step(base.step_key(keys, num_steps), state, data)


class Shapes(NamedTuple):
    """What one step gives: trees of `jax.ShapeDtypeStruct`s."""

    losses: Any
    workers: Any
    values: dict[str, PyTree]
    """{metric: one measurement}; of a total, what a step adds."""


def shapes(program: Program, keys: Array, state: PyTree, data: PyTree) -> Shapes:
    """What a step gives, without computing it; `state` may be shapes too."""
    return jax.eval_shape(partial(_measured_step, program), keys, state, data)


def start(program: Program, given: Shapes, state: PyTree) -> tuple[Core, dict[str, PyTree]]:
    """Core and buffers before the first step; their leaves are new."""
    totals = {
        name: (_zeros_like(given.values[name]), _zeros_like(given.values[name]))
        for name, metric in program.metrics
        if isinstance(metric.measure, Total)
    }
    core = Core(
        num_steps=jnp.zeros((), jnp.int32),
        state=jax.tree.map(partial(jnp.array, copy=True), state),
        totals=totals,
        losses=_zeros_like(given.losses),
        workers=_zeros_like(given.workers),
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


def names_apart(program: Program, keys: Array, state: PyTree, data: PyTree, *, is_small: bool) -> tuple[str, ...]:
    """The metrics to measure apart: by an evaluation of its own of the step, between two stretches of steps.

    Where steps cost next to nothing, so that not even their losses are computed, a condition in each of them would
    cost more than the steps; one more evaluation of the few that are measured does not. And where the state is
    large, a condition that reads it would keep the step from updating it in place.

    Args:
        program: of one run; its own `apart` is not looked at.
        keys: key[] or key[2].
        state: the state, or its shapes.
        data: what a step is given.
        is_small: whether a copy of the state costs nothing.
    """
    new_state, info = jax.eval_shape(partial(step, program), keys, jnp.int32(0), state, data)
    names = []
    for name, metric in program.metrics:
        value = partial(_value_of_one, program.algorithm, metric, jnp.int32(0), data)
        is_costly = metric.every >= APART and not program.is_checked
        copies = metric.every > 1 and not is_small and _reads_states(value, state, new_state, info)
        if not isinstance(metric.measure, Total) and (is_costly or copies):
            names.append(name)
    return tuple(names)


def _reads_states(value: Callable[..., PyTree], state: PyTree, new_state: PyTree, info: Info) -> bool:
    """Whether what is measured depends on the state before or after the step, and not on `info` alone."""
    jaxpr = jax.make_jaxpr(value)(state, new_state, info).jaxpr
    needed = {variable for variable in jaxpr.outvars if isinstance(variable, Var)}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(variable for variable in equation.invars if isinstance(variable, Var))
    states = jaxpr.invars[: len(jax.tree.leaves((state, new_state)))]
    return bool(needed.intersection(states))


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
    is_due = jnp.any(jnp.stack([_is_due(metric, t, last) for _, metric in apart]))
    # a loop of at most one pass that hands the state through: a condition would copy it
    _, core, rows = lax.while_loop(
        _is_pending, partial(_measure_apart, program, keys, data, begin, last), (is_due, core, rows)
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
            value = _value_if_due(program, metric, t, last, core.state, new_state, info, data)
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
        value = _value_if_due(program, metric, t, last, core.state, new_state, info, data)
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
    )
    return _kept_in_place(program, new_core, {**rows, **written})


def _is_due(metric: Metric, num_steps: Array, last: Array) -> Array:
    return (num_steps % metric.every == 0) | (num_steps == last)


def _value_if_due(
    program: Program,
    metric: Metric,
    num_steps: Array,
    last: Array,
    state: PyTree,
    new_state: PyTree,
    info: Info,
    data: PyTree,
) -> PyTree:
    """What a metric measures at one step, not computed where it is not due; of a total, what the step adds."""
    measure = partial(_value, program, metric, num_steps, state, new_state, info, data)
    if metric.every == 1 or isinstance(metric.measure, Total):
        return measure()
    return lax.cond(_is_due(metric, num_steps, last), measure, partial(_zeros_like, jax.eval_shape(measure)))


def _kept_in_place(program: Program, core: Core, rows: dict[str, PyTree]) -> Carry:
    """Core and buffers where `devices.place` put them, so that the next chunk needs no other program."""
    if program.mesh is None:
        return core, rows
    placed = devices.shardings(core, program.mesh), devices.shardings(rows, program.mesh)
    return lax.with_sharding_constraint((core, rows), placed)


def _measured_step(program: Program, keys: Array, state: PyTree, data: PyTree) -> Shapes:
    t = jnp.int32(0)
    new_state, info = step(program, keys, t, state, data)
    values = {name: _value(program, metric, t, state, new_state, info, data) for name, metric in program.metrics}
    return Shapes(info.losses, info.workers, values)


def _value(
    program: Program,
    metric: Metric,
    num_steps: Array,
    state: PyTree,
    new_state: PyTree,
    info: Info,
    data: PyTree,
) -> PyTree:
    """What a metric measures at one step, of one run or of all seeds."""
    one = partial(_value_of_one, program.algorithm, metric, num_steps, data)
    return (jax.vmap(one) if program.is_batched else one)(state, new_state, info)


def _value_of_one(
    algorithm: Algorithm,
    metric: Metric,
    num_steps: Array,
    data: PyTree,
    state: PyTree,
    new_state: PyTree,
    info: Info,
) -> PyTree:
    moment = Moment(
        num_steps=num_steps,
        params=algorithm.global_params(state),
        new_params=algorithm.global_params(new_state),
        info=info,
        state=state,
        new_state=new_state,
        data=data,
    )
    if isinstance(metric.measure, Total):
        return jnp.sum(jnp.asarray(metric.measure.per_step(moment)))
    return jax.tree.map(jnp.asarray, metric.measure(moment))


def _zeros_like(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)


def _add(total: tuple[Array, Array], value: Array) -> tuple[Array, Array]:
    """Knuth's two-sum: the rounding error of the sum is kept beside it."""
    old, compensation = total
    new = old + value
    virtual = new - old
    return new, compensation + ((old - (new - virtual)) + (value - virtual))
