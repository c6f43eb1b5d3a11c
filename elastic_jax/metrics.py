"""Metrics: what is measured alike for all algorithms, from the contract alone.

A metric is a *measure*, a pure function of one `Moment` of a run, and a cadence: `loss(10)` is measured at steps 0,
10, 20, ... and at the last one. Measures read x_t (`Moment.params`) and what the step did (`Moment.info`), never the
inside of a state, so each works for every variant and any number k of active workers.

A `Total` is summed over *all* steps instead, so that what was sent between two measurements is not lost: row t of
`total_bits(100)` is the sum over the steps 0, ..., t. A `Running` is anything else that is carried over all steps,
such as the largest value so far, and where it was.
"""

from __future__ import annotations

import ast
import numbers
import operator
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments, stacked
from elastic_jax.base import Algorithm, Info, Params, Problem, PyTree


class Moment(NamedTuple):
    """One step of a run, before and after."""

    num_steps: Array
    """int32[]. t: steps taken before this one."""
    params: Params
    """[...], parameter units. x_t."""
    new_params: Params
    """[...], parameter units. x_{t+1}."""
    info: Info
    """What the step did."""
    state: PyTree
    """The algorithm's state before the step."""
    new_state: PyTree
    """The algorithm's state after the step."""
    data: PyTree
    """What the step was given."""
    key: Array | None = None
    """key[] or key[2]. What the step was given; the schedule can be drawn from it anew."""


Measure: TypeAlias = Callable[[Moment], PyTree]
"""`measure(moment) -> array`, or a tree of arrays; pure, traced under `jit`."""


class Total(NamedTuple):
    """A measure that is summed over workers and steps, compensated on the device and in float64 on the host."""

    per_step: Measure
    """What one step adds, of any shape; its elements are summed."""


class Running(NamedTuple):
    """What is carried over all steps, such as a largest value: row t holds what has come of the steps 0, ..., t."""

    start: Callable[[], PyTree]
    """`start() -> tree of arrays`: what is carried into step 0."""
    update: Callable[[PyTree, Moment], PyTree]
    """`update(carried, moment) -> carried`, of the same shapes and dtypes; pure, traced under `jit`."""


class Metric(NamedTuple):
    """What is measured, and how often."""

    measure: Measure | Total | Running
    every: int
    """>= 1, steps: measured where t is a multiple of it, and at the last step; computed nowhere else."""


def metric(measure: Measure | Total | Running, every: int) -> Metric:
    """A metric of one's own, checked: `metrics.metric(lambda moment: ..., 10)`."""
    return Metric(check_measure("measure", measure), arguments.integer("every", every, low=1, high=2**31 - 1))


def check_measure(name: str, measure: Any) -> Measure | Total | Running:
    """`measure`, a function of a `Moment`, a `Total` or a `Running`; raises `TypeError` for anything else."""
    if isinstance(measure, Running):
        arguments.function(f"{name}.start", measure.start, "of nothing")
        arguments.function(f"{name}.update", measure.update, "of what is carried and a metrics.Moment")
        return measure
    if isinstance(measure, Total):
        arguments.function(f"{name}.per_step", measure.per_step, "of a metrics.Moment")
        return measure
    return arguments.function(name, measure, "of a metrics.Moment")


def loss(every: int) -> Metric:
    """float[]: the mean loss of the workers that were active, each at its view and on its sample."""
    return metric(_loss, every)


def consistency_distance_sq(every: int) -> Metric:
    """float[k], parameter units squared: ‖x_t - v_t^i‖², whose mean over runs the theory bounds by α²B²."""
    return metric(_consistency_distance_sq, every)


def consensus_distance_sq(every: int) -> Metric:
    """float[], parameter units squared: (1/k) Σ_i ‖v_t^i - v̄_t‖² over the views of the active workers."""
    return metric(_consensus_distance_sq, every)


def staleness(every: int) -> Metric:
    """int32[k], steps: the age of each view."""
    return metric(_staleness, every)


def grad_second_moment(every: int) -> Metric:
    """float[k], gradient units squared: ‖g_t^i‖², whose mean over runs is at most M²; 0 in a slot nobody used."""
    return metric(_grad_second_moment, every)


def bits_sent(every: int) -> Metric:
    """float32[k], bits: what each active worker sent in this one step."""
    return metric(_bits_sent, every)


def total_bits(every: int) -> Metric:
    """float64[], bits: what all workers have sent in steps 0, ..., t."""
    return metric(Total(_bits_sent), every)


def num_failures(every: int) -> Metric:
    """int32[k]: messages that each active worker received in this one step and decoded wrongly."""
    return metric(_num_failures, every)


def total_seconds(every: int) -> Metric:
    """float64[], simulated seconds: how long steps 0, ..., t took by the clock of the algorithm."""
    return metric(Total(_elapsed), every)


def objective(problem: Problem, every: int) -> Metric:
    """float[]: f(x_t), exactly, on all training data."""
    return metric(partial(_objective, problem=_check_problem(problem)), every)


def grad_norm_sq(problem: Problem, every: int) -> Metric:
    """float[], gradient units squared: ‖∇f(x_t)‖², on all training data."""
    return metric(partial(_grad_norm_sq, problem=_check_problem(problem)), every)


def evaluate(problem: Problem, every: int) -> Metric:
    """{name: float[]}: `problem.evaluate(x_t)`, on held-out data."""
    return metric(partial(_evaluate, problem=_check_problem(problem)), every)


def promised_state_bytes(algorithm: Algorithm, params: Params) -> int:
    """How many bytes the state holds, by the sentence "Bytes: FORMULA." of the variant's `State` docstring.

    In the formula, n is the number of workers, P the bytes of one set of parameters, O those of one state of the
    optimiser, outer_O of the outer one and outer_C what that holds for no parameters, its counters; every other name is
    a hyper-parameter bound in `init` or `step`. It may add, subtract, multiply and divide (//), call `min` and `max`,
    and compare, with strings too.

    Raises:
        TypeError: for what is no algorithm, or no parameters.
        ValueError: if there is no such sentence, or it holds anything else.
    """
    arguments.instance("algorithm", algorithm, Algorithm, "made by a variant's build")
    arguments.arrays("params", params)
    module = sys.modules[algorithm.step.func.__module__]  # type: ignore[attr-defined]
    found = re.search(r"Bytes: (.+?)\.(?:\s|$)", module.State.__doc__ or "", re.DOTALL)
    if found is None:
        raise ValueError(f"the docstring of {module.__name__}.State has no sentence 'Bytes: FORMULA.'")
    bound = {**algorithm.init.keywords, **algorithm.step.keywords}  # type: ignore[attr-defined]

    def bytes_of(name: str, params: Params) -> int:
        optimizer = bound.get(name)
        return 0 if optimizer is None else stacked.num_bytes(jax.eval_shape(optimizer.init, params))

    names = {
        **bound,
        "n": algorithm.num_workers,
        "P": stacked.num_bytes(params),
        "O": bytes_of("optimizer", params),
        "outer_O": bytes_of("outer_optimizer", params),
        "outer_C": bytes_of("outer_optimizer", ()),
    }
    value = _evaluate_formula(ast.parse(" ".join(found[1].split()), mode="eval").body, names)
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"{value!r} is what a formula of bytes comes to; it must be an integer")
    return int(value)


def _check_problem(problem: Any) -> Problem:
    return arguments.instance("problem", problem, Problem, "e.g. problems.quadratic.build(num_workers=4)")


def _loss(moment: Moment) -> Array:
    return _mean_over_active(moment.info, moment.info.losses)


def _consistency_distance_sq(moment: Moment) -> Array:
    return stacked.distances_sq(moment.info.views, moment.params)


def _consensus_distance_sq(moment: Moment) -> Array:
    info = moment.info
    is_active = (info.workers >= 0).astype(info.weights.dtype)
    center = stacked.weighted_sum(is_active / jnp.sum(is_active), info.views)
    return _mean_over_active(info, stacked.distances_sq(info.views, center))


def _mean_over_active(info: Info, values: Array) -> Array:
    """The mean over the slots of a step that somebody used: [k] -> []."""
    is_active = info.workers >= 0
    return jnp.sum(jnp.where(is_active, values, 0)) / jnp.sum(is_active).astype(values.dtype)


def _staleness(moment: Moment) -> Array:
    return moment.info.staleness


def _grad_second_moment(moment: Moment) -> Array:
    squares = stacked.norms_sq(moment.info.grads)
    return jnp.where(moment.info.workers >= 0, squares, jnp.zeros((), squares.dtype))


def _num_failures(moment: Moment) -> Array:
    return moment.info.num_failures


def _bits_sent(moment: Moment) -> Array:
    return moment.info.bits_sent


def _elapsed(moment: Moment) -> Array:
    return moment.info.elapsed


def _objective(moment: Moment, *, problem: Problem) -> Array:
    return problem.objective(moment.params, _training_data(moment, problem))


def _grad_norm_sq(moment: Moment, *, problem: Problem) -> Array:
    return stacked.norm_sq(jax.grad(problem.objective)(moment.params, _training_data(moment, problem)))


def _evaluate(moment: Moment, *, problem: Problem) -> dict[str, Array]:
    return problem.evaluate(moment.params)


def _training_data(moment: Moment, problem: Problem) -> PyTree:
    """All training data: what the step was given, unless that was a batch only.

    An argument of the step can be sharded and is not copied into the program, as a constant would be.
    """
    given, known = (jax.tree.map(jnp.shape, data) for data in (moment.data, problem.data))
    return moment.data if given == known else problem.data


_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}


def _evaluate_formula(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """The value of a parsed formula; nothing in it is executed as code."""
    match node:
        case ast.Constant(value=int() | str() as value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Attribute(value=inner, attr=attr) if not attr.startswith("_"):
            return getattr(_evaluate_formula(inner, names), attr)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate_formula(left, names), _evaluate_formula(right, names))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate_formula(left, names), _evaluate_formula(right, names))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=parts, keywords=[]):
            return (min if name == "min" else max)(_evaluate_formula(part, names) for part in parts)
    raise ValueError(
        f"{ast.unparse(node)!r} in a formula of bytes is neither a number, nor a name that is bound "
        f"({', '.join(sorted(names))}), nor one of the operations allowed"
    )
