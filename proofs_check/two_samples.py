"""Objectives with two samples and every constant known: each expectation is a finite sum over coin tosses.

    f(x) = Σ_j [ h_j x_j² / 2 + p log cosh x_j + q x_j² / (1 + x_j²) + a_j x_j ],    F(x, ±) = f(x) ± ⟨b, x⟩

Both samples are equally likely and the same for all workers, so that g(v, ±) = ∇f(v) ± b is unbiased with
variance ‖b‖² at every v. Parameters are one array or a list of layers, one after the other. The coin is an argument,
in `data`, so that a trajectory over all 2^T tosses can be laid out by `vmap`. One formula with coefficients serves all
objectives: each variant is compiled once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments
from elastic_jax.base import Constants, PyTree

NUM_COORDINATES = 4


class Coefficients(NamedTuple):
    """Of the formula above."""

    curvature: np.ndarray
    """float[d], >= 0. h."""
    log_cosh: float
    """p >= 0."""
    rational: float
    """q >= 0."""
    slope: np.ndarray
    """float[d]. a."""
    offset: np.ndarray
    """float[d]. b: what the coin adds to the gradient."""


class Objective(NamedTuple):
    """An objective, its starting point and its exact constants."""

    coefficients: Coefficients
    start: np.ndarray
    constants: Constants


def sample_loss(params: Array, coefficients: Coefficients, coin: Array) -> Array:
    """F(x, coin): [d] and coin in {-1, +1} -> []; coin 0 gives f(x)."""
    square = params * params
    terms = (
        0.5 * coefficients.curvature * square
        + coefficients.log_cosh * jnp.log(jnp.cosh(params))
        + coefficients.rational * square / (1 + square)
        + (coefficients.slope + coin * coefficients.offset) * params
    )
    return jnp.sum(terms)


def oracle(keys: Array, views: PyTree, data: tuple[Coefficients, Array], workers: Array) -> tuple[Array, PyTree]:
    """The stacked oracle: worker i uses the coin `data[1][i]`; the keys are not used. Parameters may be in layers."""
    del keys
    coefficients, coins = data
    return jax.vmap(jax.value_and_grad(_loss_of_layers), (0, None, 0))(views, coefficients, coins[workers])


def layers(params: np.ndarray, num_layers: int) -> PyTree:
    """[..., d] -> the array itself, or a list of `num_layers` parts [..., d / num_layers]."""
    return params if num_layers == 1 else list(np.split(params, num_layers, axis=-1))


def _loss_of_layers(params: PyTree, coefficients: Coefficients, coin: Array) -> Array:
    return sample_loss(jnp.concatenate(jax.tree.leaves(params)), coefficients, coin)


def objective(params: Array, coefficients: Coefficients) -> Array:
    """f(x): [d] -> []."""
    return sample_loss(params, coefficients, jnp.zeros((), params.dtype))


def objectives() -> Mapping[str, Objective]:
    """{name: objective}: each is there because some statement is tight, or can fail, on it."""
    return {name: make() for name, make in _MAKERS.items()}


def _make(
    *,
    curvature: tuple[float, ...] = (0.0,) * NUM_COORDINATES,
    log_cosh: float = 0.0,
    rational: float = 0.0,
    slope: float = 0.0,
    offset: tuple[float, ...] = (0.3, -0.5, 0.8, 0.2),
    start: tuple[float, ...] = (1.0, -2.0, 0.5, 1.5),
) -> Objective:
    """An objective with its constants, which are exact.

    log cosh has curvature in (0, 1] and slope in (-1, 1); x² / (1 + x²) has curvature in [-1/2, 2] and slope
    at most 3√3/8 in magnitude. All three powers have their minimum, 0, at 0.
    """
    h, b, x = np.array(curvature), np.array(offset), np.array(start)
    is_curved, grad_variance = bool(h.any()), float(b @ b)
    largest_slope = abs(slope) + log_cosh + rational * 3 * np.sqrt(3) / 8
    is_convex = not rational
    return Objective(
        coefficients=Coefficients(h, log_cosh, rational, np.full(len(h), slope), b),
        start=x,
        constants=Constants(
            smoothness=arguments.real("smoothness", float(h.max() + log_cosh + 2 * rational)),
            strong_convexity=float(h.min()) if is_convex else None,
            grad_variance=grad_variance,
            grad_second_moment=None if is_curved else float(len(h) * largest_slope**2) + grad_variance,
            heterogeneity=0.0,
            optimum=None if slope else np.zeros_like(x),
            optimal_value=None if slope else 0.0,
        ),
    )


_MAKERS = {
    # ∇f(x) - ∇f(v) = L (x - v): the descent of theorem 2.1 is an equality
    "isotropic": partial(_make, curvature=(2.0,) * NUM_COORDINATES),
    "quadratic": partial(_make, curvature=(2.0, 1.0, 0.5, 0.25)),
    # x_0 = x*: the first step of the strongly convex recursion is an equality
    "at_optimum": partial(_make, curvature=(2.0, 1.0, 0.5, 0.25), start=(0.0,) * NUM_COORDINATES),
    "log_cosh": partial(_make, curvature=(0.5,) * NUM_COORDINATES, log_cosh=1.5),
    # convex and no more than that, c = 0, with a minimiser
    "convex": partial(_make, log_cosh=1.0),
    # not convex, and its gradients are bounded: M is certified
    "rational": partial(_make, rational=1.0),
    # all gradients are the same and all their entries equal: delays and top-k lose all that they may
    "linear": partial(_make, slope=1.0, offset=(0.0,) * NUM_COORDINATES),
}
