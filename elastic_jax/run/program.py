"""What a run computes in one step, and what it measures there: of one run, or of all its seeds at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Var
from jax.sharding import Mesh

from elastic_jax import arguments, base
from elastic_jax.base import Algorithm, Info, PyTree
from elastic_jax.metrics import Metric, Moment, Running, Total

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


def step(program: Program, keys: Array, num_steps: Array, state: PyTree, data: PyTree) -> tuple[PyTree, Info]:
    """Step number `num_steps`, of one run or of all seeds."""
    algorithm, keys = program.algorithm, _step_keys(program, keys, num_steps)
    if program.is_batched:
        return jax.vmap(algorithm.step, (0, 0, None))(keys, state, data)
    return algorithm.step(keys, state, data)


class Shapes(NamedTuple):
    """What one step gives: trees of `jax.ShapeDtypeStruct`s."""

    losses: Any
    workers: Any
    values: dict[str, PyTree]
    """{metric: one measurement}; of a total, what a step adds; of a running one, what is carried."""


def shapes(program: Program, keys: Array, state: PyTree, data: PyTree) -> Shapes:
    """What a step gives, without computing it; `state` may be shapes too."""
    return jax.eval_shape(partial(_measured_step, program), keys, state, data)


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
        value = partial(_value_of_one, program.algorithm, metric, jnp.int32(0), data, base.step_key(keys, 0))
        is_costly = metric.every >= APART and not program.is_checked
        copies = metric.every > 1 and not is_small and _reads_states(value, state, new_state, info)
        if not isinstance(metric.measure, Total | Running) and (is_costly or copies):
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


def is_due(metric: Metric, num_steps: Array, last: Array) -> Array:
    """Whether a metric is measured at step `num_steps`, `last` being the last of the run."""
    return (num_steps % metric.every == 0) | (num_steps == last)


def value_if_due(
    program: Program,
    metric: Metric,
    num_steps: Array,
    last: Array,
    keys: Array,
    state: PyTree,
    new_state: PyTree,
    info: Info,
    data: PyTree,
) -> PyTree:
    """What a metric measures at one step, not computed where it is not due; of a total, what the step adds."""
    measure = partial(_value, program, metric, num_steps, keys, state, new_state, info, data)
    if metric.every == 1 or isinstance(metric.measure, Total):
        return measure()
    return lax.cond(is_due(metric, num_steps, last), measure, partial(zeros_like, jax.eval_shape(measure)))


def carried_on(
    program: Program,
    metric: Metric,
    num_steps: Array,
    carried: PyTree,
    keys: Array,
    state: PyTree,
    new_state: PyTree,
    info: Info,
    data: PyTree,
) -> PyTree:
    """What a running metric carries after one step."""
    update = cast(Running, metric.measure).update

    def one(carried: PyTree, key: Array, state: PyTree, new_state: PyTree, info: Info) -> PyTree:
        moment = _moment(program.algorithm, num_steps, data, key, state, new_state, info)
        return arguments.like("update(carried, moment)", update(carried, moment), carried, "start()")

    keys = _step_keys(program, keys, num_steps)
    return (jax.vmap(one) if program.is_batched else one)(carried, keys, state, new_state, info)


def start_of(metric: Metric) -> PyTree:
    """What a running metric carries into the first step, of one run."""
    return jax.tree.map(jnp.asarray, arguments.arrays("start()", cast(Running, metric.measure).start()))


def _step_keys(program: Program, keys: Array, num_steps: Array) -> Array:
    if program.is_batched:
        return jax.vmap(base.step_key, (0, None))(keys, num_steps)
    return base.step_key(keys, num_steps)


def zeros_like(shapes: PyTree) -> PyTree:
    """Zeros of these shapes."""
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)


def _measured_step(program: Program, keys: Array, state: PyTree, data: PyTree) -> Shapes:
    t = jnp.int32(0)
    new_state, info = step(program, keys, t, state, data)
    values = {
        name: start_of(metric)
        if isinstance(metric.measure, Running)
        else _value(program, metric, t, keys, state, new_state, info, data)
        for name, metric in program.metrics
    }
    return Shapes(info.losses, info.workers, values)


def _value(
    program: Program,
    metric: Metric,
    num_steps: Array,
    keys: Array,
    state: PyTree,
    new_state: PyTree,
    info: Info,
    data: PyTree,
) -> PyTree:
    """What a metric measures at one step, of one run or of all seeds."""
    one = partial(_value_of_one, program.algorithm, metric, num_steps, data)
    keys = _step_keys(program, keys, num_steps)
    return (jax.vmap(one) if program.is_batched else one)(keys, state, new_state, info)


def _value_of_one(
    algorithm: Algorithm,
    metric: Metric,
    num_steps: Array,
    data: PyTree,
    key: Array,
    state: PyTree,
    new_state: PyTree,
    info: Info,
) -> PyTree:
    moment = _moment(algorithm, num_steps, data, key, state, new_state, info)
    if isinstance(metric.measure, Running):  # only its shapes are asked for
        return metric.measure.update(start_of(metric), moment)
    if isinstance(metric.measure, Total):
        return jnp.sum(arguments.one_array("measure.per_step(moment)", metric.measure.per_step(moment)))
    return jax.tree.map(jnp.asarray, arguments.arrays("measure(moment)", metric.measure(moment)))


def _moment(
    algorithm: Algorithm,
    num_steps: Array,
    data: PyTree,
    key: Array,
    state: PyTree,
    new_state: PyTree,
    info: Info,
) -> Moment:
    return Moment(
        num_steps=num_steps,
        params=algorithm.global_params(state),
        new_params=algorithm.global_params(new_state),
        info=info,
        state=state,
        new_state=new_state,
        data=data,
        key=key,
    )
