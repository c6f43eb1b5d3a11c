"""A heterogeneous quadratic with gaussian gradient noise: every constant is exact, and a step costs next to nothing.

    f_i(x) = ½ (x - b_i)ᵀ A_i (x - b_i),    A_i diagonal,    f = (1/n) Σ_i f_i
    g_i(v) = A_i (v - b_i) + noise · z / √d,    z standard gaussian in R^d

Exactly, with Ā = (1/n) Σ_i A_i and h the mean of the h_i = A_i b_i:
    L = max A_i,    c = min Ā,    σ² = noise²,    x* = Ā⁻¹ h,    ζ² = (1/n) Σ_i ‖h_i - h‖² where all A_i are the same.
Otherwise ζ², and always M², are finite on a ball only; for ‖x‖ <= R, certified by Minkowski's inequality,
    M² <= max_i (max(A_i) R + ‖h_i‖)² + σ²,    ζ² <= ((max (1/n) Σ_i (A_i - Ā)²)^½ R + ((1/n) Σ_i ‖h_i - h‖²)^½)².
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments, stacked
from elastic_jax.base import Constants, Problem, PyTree


def build(
    *,
    num_workers: int,
    dim: int = 100,
    noise: float = 1.0,
    low_curvature: float = 0.1,
    high_curvature: float = 1.0,
    curvature_spread: float = 0.0,
    centre_spread: float = 1.0,
    radius: float | None = None,
    seed: int = 0,
) -> Problem:
    """A heterogeneous diagonal quadratic.

    Args:
        num_workers: n >= 1.
        dim: d >= 1.
        noise: σ >= 0, standard deviation of the whole gradient noise, gradient units; with 0 no random
            number is drawn.
        low_curvature: > 0, the smallest entry of the mean of the A_i before `curvature_spread`.
        high_curvature: >= low_curvature, the largest.
        curvature_spread: in [0, 1): each entry of A_i is multiplied by a factor uniform on
            [1 - curvature_spread, 1 + curvature_spread]; 0: all workers have the same curvature.
        centre_spread: >= 0, standard deviation of each entry of the b_i; 0: all have the same centre, 0.
        radius: R > 0: M² and ζ² are certified for ‖x‖ <= R; None: everywhere, where they are finite.
        seed: of the A_i and b_i.

    Returns:
        A problem with params [d] (JAX's default float type) and data {"curvatures": [n, d], "centres": [n, d]}.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> from elastic_jax.problems import quadratic
        >>> problem = quadratic.build(num_workers=4, dim=10, noise=0.5, low_curvature=0.25)
        >>> problem.constants.smoothness, problem.constants.strong_convexity, problem.constants.grad_variance
        (1.0, 0.25, 0.25)
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    dim = arguments.integer("dim", dim, low=1)
    noise = arguments.real("noise", noise, low=0.0)
    low = arguments.real("low_curvature", low_curvature, above=0.0)
    high = arguments.real("high_curvature", high_curvature, low=low)
    curvature_spread = arguments.real("curvature_spread", curvature_spread, low=0.0, high=1.0 - 1e-9)
    centre_spread = arguments.real("centre_spread", centre_spread, low=0.0)
    radius = None if radius is None else arguments.real("radius", radius, above=0.0)
    random = np.random.default_rng(arguments.integer("seed", seed, low=0))

    factors = random.uniform(1 - curvature_spread, 1 + curvature_spread, (num_workers, dim))
    # rounded to what the gradients really use, so that the constants are exact for them
    dtype = np.dtype(jnp.result_type(float))
    curvatures = (factors * np.linspace(low, high, dim)).astype(dtype)
    centres = random.normal(0.0, centre_spread, (num_workers, dim)).astype(dtype)
    return Problem(
        oracle=partial(oracle, noise=noise),
        init=partial(init, dim=dim),
        data={"curvatures": jnp.asarray(curvatures), "centres": jnp.asarray(centres)},
        objective=objective,
        evaluate=_nothing,
        constants=_constants(curvatures.astype(np.float64), centres.astype(np.float64), noise, radius),
        num_workers=num_workers,
    )


def oracle(
    keys: Array, views: Array, data: dict[str, Array], workers: Array, /, *, noise: float
) -> tuple[Array, Array]:
    """The stacked oracle, in a few elementwise operations: losses f_i(v_i) without noise, and gradients [k, d]."""
    k, dim = keys.shape[0], data["centres"].shape[1]
    arguments.floats("views", views, (k, dim))
    # with all workers active they are in order; a worker that the data do not have reads NaN
    rows = data if k == stacked.num_rows(data) else stacked.take_rows(data, workers)
    offsets = views - rows["centres"].astype(views.dtype)
    slopes = rows["curvatures"].astype(views.dtype) * offsets
    losses = 0.5 * jnp.einsum("kd,kd->k", offsets, slopes)
    if noise == 0:
        return losses, slopes
    draws = jax.vmap(partial(jax.random.normal, shape=(dim,), dtype=views.dtype))(keys)
    return losses, slopes + jnp.asarray(noise / np.sqrt(dim), views.dtype) * draws


def init(key: Array, *, dim: int) -> Array:
    """A standard gaussian starting point, float[d]."""
    return jax.random.normal(key, (dim,))


def objective(params: Array, data: PyTree) -> Array:
    """f(params), float[]."""
    offsets = params[None] - data["centres"].astype(params.dtype)
    return 0.5 * jnp.mean(jnp.sum(data["curvatures"].astype(params.dtype) * offsets**2, axis=1))


def _constants(curvatures: np.ndarray, centres: np.ndarray, noise: float, radius: float | None) -> Constants:
    weights = np.full(len(curvatures), 1 / len(curvatures))
    pulls = curvatures * centres
    mean, pull = weights @ curvatures, weights @ pulls
    optimum = pull / mean
    # with the same curvature everywhere ∇f_i - ∇f does not depend on x
    slope_spread = 0.0 if np.all(curvatures == curvatures[:1]) else np.sqrt((weights @ (curvatures - mean) ** 2).max())
    pull_spread = np.sqrt(weights @ np.sum((pulls - pull) ** 2, axis=1))
    steepest = None if radius is None else np.max(curvatures.max(axis=1) * radius + np.linalg.norm(pulls, axis=1))
    reach = 0.0 if slope_spread == 0 else radius
    return Constants(
        smoothness=float(curvatures.max()),
        strong_convexity=float(mean.min()),
        grad_variance=noise**2,
        grad_second_moment=None if steepest is None else float(steepest**2) + noise**2,
        heterogeneity=None if reach is None else float((slope_spread * reach + pull_spread) ** 2),
        optimum=optimum,
        optimal_value=float(0.5 * weights @ np.sum(curvatures * (optimum - centres) ** 2, axis=1)),
    )


def _nothing(params: Array) -> dict[str, Array]:
    """An analytic objective has nothing held out."""
    del params
    return {}
