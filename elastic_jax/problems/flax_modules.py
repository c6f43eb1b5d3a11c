"""Flax modules as pure functions of their parameters.

Parameters are float32 unless the caller converts them; the modules then compute in the dtype of the
parameters.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from elastic_jax.base import Params, PyTree


@partial(jax.jit, static_argnames=("module", "inputs"))
def init(key: Array, *, module: nn.Module, inputs: tuple[jax.ShapeDtypeStruct, ...]) -> Params:
    """The initial parameters of `module`, for inputs of these shapes and dtypes."""
    variables = module.init(key, *(jnp.zeros(each.shape, each.dtype) for each in inputs))
    return variables["params"]


def apply(module: nn.Module, variables: PyTree, *inputs: Array, **options: Any) -> Any:
    """`module.apply`, also where JAX forbids mixing dtypes: flax asks for the type of float32 and float64."""
    with jax.numpy_dtype_promotion("standard"):
        return module.apply(variables, *inputs, **options)


def dtype(params: Params) -> jnp.dtype:
    """The dtype in which a module with these parameters computes."""
    return jnp.result_type(*jax.tree.leaves(params)[:1])
