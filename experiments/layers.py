"""The layers of a network in the order in which the forward pass meets them, with what each costs.

A layer is one leaf of the parameters, which is what is sent as one message. Parameters are trees whose order says
nothing about the network; the order is read off the program of the forward pass, and so is the number of operations:
every equation counts for the layer whose parameters it uses, or for the last one met before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.extend.core import Var

from elastic_jax.base import Oracle, Params, Problem, PyTree


class Costs(NamedTuple):
    """What each of m layers costs, first to last."""

    order: tuple[int, ...]
    """The number of each layer's leaf in the tree."""
    elements: np.ndarray
    """int64[m]."""
    operations: np.ndarray
    """int64[m], of one forward pass: two for each multiplication and addition, one for each entry of anything else."""


def measure(function: Callable[..., Any], params: Params, *inputs: Any) -> Costs:
    """The costs of `function(params, *inputs)`, of which only shapes are looked at; it must use every leaf."""
    leaves = jax.tree.leaves(params)
    jaxpr = jax.make_jaxpr(function)(params, *inputs).jaxpr
    owners = dict(zip(jaxpr.invars, range(len(leaves)), strict=False))
    order: list[int] = []
    operations = [0] * len(leaves)
    for equation in jaxpr.eqns:
        operands = [operand for operand in equation.invars if isinstance(operand, Var)]
        owned = [owners[operand] for operand in operands if operand in owners]
        if owned and len(owned) == len(operands):  # parameters alone, reshaped or converted: not yet used
            owners.update(dict.fromkeys(equation.outvars, owned[0]))
            continue
        if owned and owned[0] not in order:
            order.append(owned[0])
        layer = owned[0] if owned else order[-1] if order else 0
        operations[layer] += _operations(equation)
    assert sorted(order) == list(range(len(leaves))), "a leaf is not used"
    return Costs(
        tuple(order),
        np.array([math.prod(leaves[leaf].shape) for leaf in order]),
        np.array([operations[leaf] for leaf in order]),
    )


def in_order(problem: Problem, order: tuple[int, ...]) -> Problem:
    """`problem` with a tuple of leaves in this order for its parameters."""
    treedef = jax.tree.structure(jax.eval_shape(problem.init, jax.random.key(0)))
    as_tree = partial(_as_tree, order=order, treedef=treedef)
    return problem._replace(
        oracle=partial(_oracle, oracle=problem.oracle, order=order, as_tree=as_tree),
        init=partial(_init, init=problem.init, order=order),
        objective=partial(_objective, objective=problem.objective, as_tree=as_tree),
        evaluate=partial(_evaluate, evaluate=problem.evaluate, as_tree=as_tree),
    )


def _operations(equation: Any) -> int:
    size = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return 2 * size * math.prod(kernel) // channels
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2 * size * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return size


def _as_tuple(tree: PyTree, order: tuple[int, ...]) -> tuple[Array, ...]:
    leaves = jax.tree.leaves(tree)
    return tuple(leaves[leaf] for leaf in order)


def _as_tree(layers: tuple[Array, ...], *, order: tuple[int, ...], treedef: Any) -> PyTree:
    leaves = dict(zip(order, layers, strict=True))
    return jax.tree.unflatten(treedef, [leaves[leaf] for leaf in range(len(order))])


def _oracle(
    keys: Array,
    views: PyTree,
    data: PyTree,
    workers: Array,
    /,
    *,
    oracle: Oracle,
    order: tuple[int, ...],
    as_tree: Callable[[Any], PyTree],
) -> tuple[Array, PyTree]:
    losses, grads = oracle(keys, as_tree(views), data, workers)
    return losses, _as_tuple(grads, order)


def _init(key: Array, *, init: Callable[[Array], Params], order: tuple[int, ...]) -> Params:
    return _as_tuple(init(key), order)


def _objective(
    params: Params, data: PyTree, *, objective: Callable[..., Array], as_tree: Callable[[Any], PyTree]
) -> Array:
    return objective(as_tree(params), data)


def _evaluate(
    params: Params, *, evaluate: Callable[[Params], dict[str, Array]], as_tree: Callable[[Any], PyTree]
) -> dict[str, Array]:
    return evaluate(as_tree(params))
