"""What a user gives, a function of one worker, as the gradient that the strategies evaluate.

Whether it fits the parameters and the batch, and returns what it should, is asked while it is traced: nothing of the
question is left in the program.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import arguments
from elastic_jax.base import Params


def from_loss(params: Params, *batch: Any, loss: Callable[..., Array]) -> tuple[Array, Params]:
    """Loss and gradient of `loss(params, *batch) -> float[]`; `batch` may be followed by a key."""
    return jax.value_and_grad(partial(_loss, loss))(params, *batch)


def from_value_and_grad(params: Params, *batch: Any, value_and_grad: Callable[..., Any]) -> tuple[Array, Params]:
    """Loss and gradient of `value_and_grad(params, *batch) -> (float[], [...])`."""
    result = _call("value_and_grad", value_and_grad, params, *batch)
    loss, grad = arguments.pair("value_and_grad(params, batch)", result, "(loss, grad)")
    return arguments.floats("loss", loss, ()), arguments.like("grad", grad, params, "params")


def from_grad(params: Params, *batch: Any, grad: Callable[..., Params]) -> tuple[Array, Params]:
    """The gradient of `grad(params, *batch) -> [...]`, and 0 for the loss, or NaN so that divergence is found."""
    gradient = arguments.like("grad(params, batch)", _call("grad", grad, params, *batch), params, "params")
    leaves = jax.tree.leaves(gradient)
    is_finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]).all()
    dtype = jnp.result_type(leaves[0])
    return jnp.where(is_finite, jnp.zeros((), dtype), jnp.full((), jnp.nan, dtype)), gradient


def _loss(loss: Callable[..., Array], params: Params, *batch: Any) -> Array:
    return arguments.floats("loss(params, batch)", _call("loss", loss, params, *batch), ())


def _call(name: str, function: Callable[..., Any], params: Params, *batch: Any) -> Any:
    """`function(params, *batch)`; where it fails the error tells what it was given, and keeps the cause."""
    try:
        return function(params, *batch)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        given = " and ".join(map(arguments.describe, batch))
        cause = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise TypeError(
            f"{name} = {function!r} cannot take params = {arguments.describe(params)} with batch = {given}: {cause}"
        ) from error
