"""Convolutions that stay fast in loops on the CPU: the same numbers, in the one order XLA:CPU is quick at.

    fast = canonicalize(jax.value_and_grad(loss))  # differentiate first, and vmap; canonicalise last

XLA:CPU has a fast kernel for convolutions whose arrays are ordered [batch, *space, channels] and whose kernel
is ordered [*space, input channels, output channels]. JAX writes the two gradients of a convolution as
convolutions with *permuted* dimensions. XLA's canonicalisation pass brings those to the quick order, but it
visits the entry computation only, never the body of a loop, where `lax.scan`, `fori_loop`, `while_loop` and
`lax.map` put them; there they run element by element, about 20 times (input gradient) to 60 times (kernel
gradient) slower. This cause is inferred: from XLA's published source, and from the fact that writing the
quick order out, which is what this file does, removes the effect. JAX's tracker has the symptom: jax-ml/jax
issue 12868, "Convolution is significantly slower inside a loop body (CPU)", where channels first is slow and
channels last is not.

Grouped convolutions, into which `jax.vmap` turns a convolution whose kernel is mapped, are slow in and out of
loops; they are taken apart into one convolution per group.

What is rewritten is the jaxpr: each `conv_general_dilated` becomes transpose, convolution(s), transpose, with
the same strides, padding, dilations, precision and result type. Every other equation stays what it was and
where it was (in `jit`, `scan`, `while`, `cond`, `checkpoint`, `custom_jvp`, `custom_vjp`, `shard_map`, ...):
control flow, rematerialisation, effects and custom derivative rules are kept.

The order matters. To differentiate a canonicalised function is correct but brings permuted convolutions back,
and `jax.vmap` of one brings grouped ones back: differentiate and vmap first, canonicalise then. `lax.map`,
`lax.scan` and `jax.shard_map` may follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxprs_in_params
from jax.extend.core.primitives import conv_general_dilated_p

MAX_PARTS = 64
"""Convolutions of more groups stay in one piece: each part costs some 0.04 s of compile time."""


def canonicalize(function: Callable[..., Any]) -> Callable[..., Any]:
    """Rewrite the convolutions of a function so that they stay fast inside loops on the CPU.

    On any backend but the CPU, and where there is no convolution, the function itself is called: nothing
    changes. Both are decided whenever the result is traced, by `jax.default_backend()` and by the function's
    jaxpr. For that the function is traced once more than it would be, so it must be pure, as under `jax.jit`.
    Call the result inside `jax.jit`: outside, it is traced and rewritten anew at each call.

    The results are those of the function up to rounding: sums may be taken in another order.

    Args:
        function: already differentiated, and already mapped if by `jax.vmap`: `jax.value_and_grad(loss)`,
            `jax.vmap(jax.grad(loss))`. Its arguments are pytrees of arrays and scalars, as `jax.jit` takes
            them.

    Returns:
        a function of the same arguments with the same results.
    """
    return partial(_call_canonical, function)


def has_convolution(function: Callable[..., Any], *args: Any) -> bool:
    """Say whether a function convolves, at any depth of its control flow.

    Args:
        function: any function that `jax.jit` takes.
        *args: its arguments, arrays or `jax.ShapeDtypeStruct`s: only shapes and dtypes are looked at.

    Returns:
        whether its jaxpr has a `conv_general_dilated`.
    """
    return _convolves(jax.make_jaxpr(function)(*args).jaxpr)


def count_equations(function: Callable[..., Any], *args: Any) -> int:
    """Count the equations of a function's jaxpr: its compile time grows with them.

    Args:
        function: any function that `jax.jit` takes.
        *args: its arguments, arrays or `jax.ShapeDtypeStruct`s: only shapes and dtypes are looked at.

    Returns:
        the number of equations; those of bodies of loops, branches and calls are included, each once.
    """
    return sum(1 for _ in _equations(jax.make_jaxpr(function)(*args).jaxpr))


def _call_canonical(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if jax.default_backend() != "cpu":
        return function(*args, **kwargs)
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args, **kwargs)
    if not _convolves(closed.jaxpr):
        return function(*args, **kwargs)
    # jnp.asarray keeps the weak type of a Python scalar, with which the jaxpr was traced
    inputs = [jnp.asarray(leaf) for leaf in jax.tree.leaves((args, kwargs))]
    outputs = eval_jaxpr(_rewrite(closed.jaxpr), closed.consts, *inputs)
    return jax.tree.unflatten(jax.tree.structure(shapes), outputs)


def _equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)


def _convolves(jaxpr: Jaxpr) -> bool:
    return any(equation.primitive is conv_general_dilated_p for equation in _equations(jaxpr))


def _rewrite(value: Any) -> Any:
    """Rewrite the convolutions in a jaxpr, or in a parameter of an equation; return the rest as it is."""
    if isinstance(value, Jaxpr):  # asked first: from 0.11 on, JAX has one class for both kinds
        return value.replace(eqns=[_rewrite_equation(equation) for equation in value.eqns])
    if isinstance(value, ClosedJaxpr):
        return value.replace(jaxpr=_rewrite(value.jaxpr))
    if isinstance(value, tuple):  # the branches of cond; named, the four functions of custom_linear_solve
        parts = tuple(_rewrite(part) for part in value)
        return type(value)(*parts) if hasattr(value, "_fields") else parts
    return value


def _rewrite_equation(equation: JaxprEqn) -> JaxprEqn:
    if equation.primitive is conv_general_dilated_p:
        kernel: Any = equation.invars[1].aval
        # A sharding of the result speaks of the old order: where it shards anything the convolution is left alone.
        # Gradients inside a shard_map have one that shards nothing.
        sharding = equation.params.get("out_sharding")
        is_sharded = sharding is not None and any(axes is not None for axes in sharding.spec)
        if is_sharded or _is_canonical(kernel.shape, **equation.params):
            return equation
        return _as_call(equation, partial(_convolve, **equation.params))
    if not any(map(_convolves, jaxprs_in_params(equation.params))):
        return equation
    if equation.primitive.name == "shard_map":
        return _as_call(equation, _rewrite_shard_map(**equation.params))
    return equation.replace(params={name: _rewrite(value) for name, value in equation.params.items()})


def _as_call(equation: JaxprEqn, function: Callable[..., Any]) -> JaxprEqn:
    """Put the call of a jitted function in an equation's place: again one equation, which XLA inlines."""
    avals = [atom.aval for atom in equation.invars]
    (call,) = jax.make_jaxpr(jax.jit(function))(*avals).eqns
    return equation.replace(primitive=call.primitive, params=call.params)


def _rewrite_shard_map(
    *,
    jaxpr: Jaxpr,
    mesh: Any,
    in_specs: Any,
    out_specs: Any,
    newly_manual_axes: Any,
    check_vma: bool,
    **_: Any,
) -> Callable[..., Any]:
    # Inside a shard_map the type of an array names the mesh axes along which it varies, but only while a
    # shard_map is being traced: so that is when its jaxpr is rewritten.
    return jax.shard_map(
        lambda *shards: tuple(eval_jaxpr(_rewrite(jaxpr), (), *shards)),
        mesh=mesh,
        in_specs=in_specs,
        out_specs=out_specs,
        axis_names=newly_manual_axes,
        check_vma=check_vma,
    )


def _channels_last(num_dims: int) -> lax.ConvDimensionNumbers:
    """The quick order: [batch, *space, channels] and kernel [*space, input channels, output channels]."""
    last = num_dims - 1
    batch_channels_space = (0, last, *range(1, last))
    return lax.ConvDimensionNumbers(batch_channels_space, (last, last - 1, *range(last - 1)), batch_channels_space)


def _num_parts(num_groups: int, num_channels: int) -> int:
    """How many convolutions to make of one of `num_groups` groups of `num_channels` input channels each."""
    return num_groups if num_channels > 1 and num_groups <= MAX_PARTS else 1


def _is_canonical(
    kernel_shape: tuple[int, ...],
    *,
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    **_: Any,
) -> bool:
    num_channels = kernel_shape[dimension_numbers.rhs_spec[1]]
    return (
        dimension_numbers == _channels_last(len(kernel_shape))
        and batch_group_count == 1
        and _num_parts(feature_group_count, num_channels) == 1
    )


def _convolve(
    inputs: Array,
    kernel: Array,
    *,
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    **settings: Any,
) -> Array:
    """Convolve in the quick order, one convolution per group.

    Args:
        inputs: batch, channels, *space stand where `dimension_numbers.lhs_spec` says.
        kernel: output channels, input channels of one group, *space stand where `rhs_spec` says.
        dimension_numbers: as the primitive has them.
        feature_group_count: groups of channels, each convolved into its part of the output channels. They
            stay together where a group is one channel (depthwise).
        batch_group_count: groups of examples, each convolved into its part of the output channels.
        **settings: strides, padding, dilations, precision and result type, passed on.

    Returns:
        batch, output channels, *space where `out_spec` says.
    """
    batch, channels, *space = dimension_numbers.lhs_spec
    inputs = lax.transpose(inputs, (batch, *space, channels))
    out_channels, in_channels, *space = dimension_numbers.rhs_spec
    kernel = lax.transpose(kernel, (*space, in_channels, out_channels))
    last = inputs.ndim - 1

    num_groups = feature_group_count
    if batch_group_count > 1:  # make them groups of channels: [g·b, *space, c] to [b, *space, g·c]
        num_groups = batch_group_count
        inputs = jnp.stack(_split(inputs, num_groups, 0), axis=last)
        inputs = lax.reshape(inputs, (*inputs.shape[:last], num_groups * inputs.shape[-1]))
    num_parts = _num_parts(num_groups, kernel.shape[-2])

    convolve: Callable[..., Array] = partial(
        lax.conv_general_dilated,
        dimension_numbers=_channels_last(inputs.ndim),
        feature_group_count=num_groups // num_parts,
        **settings,
    )
    parts = zip(_split(inputs, num_parts, last), _split(kernel, num_parts, last), strict=True)
    result = lax.concatenate([convolve(*part) for part in parts], last)
    batch, channels, *space = dimension_numbers.out_spec
    return lax.transpose(result, np.argsort((batch, *space, channels)))


def _split(array: Array, num_parts: int, axis: int) -> Sequence[Array]:
    return lax.split(array, [array.shape[axis] // num_parts] * num_parts, axis)
