"""Finite sums over examples: exact expectations by enumeration, certified constants, minimisers to machine precision.

    f = (1/n) Σ_i f_i,    f_i(x) = (1/m_i) Σ_j loss(x, ξ_ij)

A stochastic gradient is that of a mini-batch of b examples drawn with replacement from the worker's own, so its mean
is ∇f_i and its variance is 1/b of that of one example: both are sums over the examples, taken here without sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import optimize

from elastic_jax import arguments, data
from elastic_jax.base import Params, Problem, PyTree, Shards

Loss = Callable[[Params, PyTree], Array]
"""`loss(params, batch) -> float[]`: the mean over the batch, leaves [b, ...], plus what does not depend on it."""

LARGEST_SOLVED = 2000
"""Parameters up to which x* is computed: the Newton step needs a Hessian of this size squared."""


class Moments(NamedTuple):
    """Exact moments of the stochastic gradients of every worker at one view."""

    mean: Params
    """[n, ...], gradient units. ∇f_i."""
    variance: Array
    """float[n], gradient units squared. E‖g_i - ∇f_i‖²."""
    second_moment: Array
    """float[n], gradient units squared. E‖g_i‖²."""


def enumerate_grads(problem: Problem, params: Params) -> Params:
    """The gradient of every example of every worker at `params` [...]: [n, m, ...]; padding repeats examples."""
    value_and_grad = problem.oracle.keywords["value_and_grad"]  # type: ignore[attr-defined]  # of oracles.from_loss

    def of_example(example: PyTree) -> Params:
        return value_and_grad(params, jax.tree.map(lambda leaf: leaf[None], example))[1]

    return jax.vmap(jax.vmap(of_example))(problem.data.examples)


def moments(problem: Problem, params: Params) -> Moments:
    """Mean, variance and second moment of the stochastic gradients at `params`, exactly: no sampling."""
    grads, sizes = enumerate_grads(problem, params), problem.data.sizes
    batch_size = problem.oracle.keywords["batch_size"]  # type: ignore[attr-defined]  # of oracles.from_loss
    longest = jax.tree.leaves(grads)[0].shape[1]
    is_real = jnp.arange(longest, dtype=jnp.int32)[None] < sizes[:, None]
    dtype = jax.tree.leaves(grads)[0].dtype
    weights = jnp.where(is_real, 1, 0).astype(dtype) / sizes[:, None].astype(dtype)
    mean = jax.tree.map(lambda leaf: jnp.einsum("nm,nm...->n...", weights, leaf), grads)
    of_one = jax.tree.map(lambda leaf: jnp.sum(leaf.reshape(*leaf.shape[:2], -1) ** 2, axis=2), grads)
    of_mean = jax.tree.map(lambda leaf: jnp.sum(leaf.reshape(leaf.shape[0], -1) ** 2, axis=1), mean)
    second = jnp.einsum("nm,nm->n", weights, sum(jax.tree.leaves(of_one)))
    mean_sq = sum(jax.tree.leaves(of_mean))
    variance = (second - mean_sq) / batch_size
    return Moments(mean, variance, variance + mean_sq)


def objective(params: Params, shards: Shards, *, loss: Loss) -> Array:
    """f(params), exactly, float[]: the mean over workers of the mean loss over their own examples."""

    def of_example(example: PyTree) -> Array:
        return loss(params, jax.tree.map(lambda leaf: leaf[None], example))

    losses = jax.vmap(jax.vmap(of_example))(shards.examples)
    is_real = jnp.arange(losses.shape[1], dtype=jnp.int32)[None] < shards.sizes[:, None]
    return jnp.mean(jnp.sum(jnp.where(is_real, losses, 0), axis=1) / shards.sizes.astype(losses.dtype))


def minimise(loss: Loss, shards: Shards, start: Params) -> tuple[np.ndarray | None, float | None]:
    """x* and f(x*) in float64, ‖∇f(x*)‖ <= 1e-10, by Newton's method in a trust region; (None, None) if too large.

    Raises:
        ArithmeticError: where the gradient cannot be made that small.
    """
    if start.size > LARGEST_SOLVED:
        return None, None
    with jax.enable_x64(True):
        wide = jax.tree.map(_widened, shards)
        shape = start.shape
        function = jax.jit(lambda flat: objective(flat.reshape(shape), wide, loss=loss))
        grad, hessian = jax.jit(jax.grad(function)), jax.jit(jax.hessian(function))
        found = optimize.minimize(
            lambda x: float(function(x)),
            np.zeros(start.size),
            jac=lambda x: np.asarray(grad(x)),
            hess=lambda x: np.asarray(hessian(x)),
            method="trust-exact",
            options={"gtol": 1e-8, "maxiter": 500},
        )
        optimum = found.x
        for _ in range(5):
            slope = np.asarray(grad(optimum))
            if np.linalg.norm(slope) <= 1e-14:
                break
            optimum = optimum - np.linalg.lstsq(np.asarray(hessian(optimum)), slope, rcond=None)[0]
        residual = float(np.linalg.norm(np.asarray(grad(optimum))))
        value = float(function(optimum))
    if not residual <= 1e-10:
        raise ArithmeticError(f"the minimiser was not found: its gradient has norm {residual:.3g}, not 1e-10")
    return optimum.reshape(shape), value


def zeros(key: Array, *, shape: tuple[int, ...]) -> Array:
    """The starting point 0, float[shape]."""
    del key
    return jnp.zeros(shape)


def held_out(
    params: Params, *, batch: PyTree, measure: Callable[[Params, PyTree], dict[str, Array]]
) -> dict[str, Array]:
    """`measure` on the held-out batch; {} where there is none."""
    return {} if batch is None else measure(params, batch)


class Examples(NamedTuple):
    """Real or synthetic examples in float, as the analytic losses take them."""

    features: np.ndarray
    """float[m, d]."""
    targets: np.ndarray
    """int32[m] or float[m]."""
    test_features: np.ndarray | None
    test_targets: np.ndarray | None
    num_classes: int


def examples(
    dataset: data.Dataset | None, *, num_examples: int, dim: int, num_classes: int, seed: int
) -> Examples:
    """The examples of `dataset`, flattened and scaled to [0, 1] if they are bytes; synthetic ones for None.

    The synthetic ones are gaussian features of norm about 1, labelled by a random linear rule of which a tenth is
    flipped, so that no hyperplane separates them.
    """
    dtype = np.dtype(jnp.result_type(float))
    if dataset is not None:
        arguments.instance("dataset", dataset, data.Dataset, 'e.g. data.load("digits")')
        flat = [_flattened(inputs, dtype) for inputs in (dataset.train_inputs, dataset.test_inputs)]
        return Examples(flat[0], dataset.train_targets, flat[1], dataset.test_targets, dataset.num_classes)
    num_examples = arguments.integer("num_examples", num_examples, low=1)
    dim = arguments.integer("dim", dim, low=1)
    random = np.random.default_rng(arguments.integer("seed", seed, low=0))
    features = (random.normal(size=(num_examples, dim)) / np.sqrt(dim)).astype(dtype)
    if num_classes == 0:
        targets = features @ random.normal(size=dim) + random.normal(size=num_examples)
        return Examples(features, targets.astype(dtype), None, None, 0)
    labels = np.argmax(features @ random.normal(size=(dim, num_classes)), axis=1)
    flipped = random.random(num_examples) < 0.1
    labels = np.where(flipped, random.integers(0, num_classes, num_examples), labels)
    return Examples(features, labels.astype(np.int32), None, None, num_classes)


def shard_features(shards: Shards) -> list[np.ndarray]:
    """The real features of every worker, float64[m_i, d]; they are the first leaf of the examples."""
    features = np.asarray(jax.tree.leaves(shards.examples)[0], np.float64)
    return [rows[:size] for rows, size in zip(features, np.asarray(shards.sizes), strict=True)]


def gram_eigenvalue(features: np.ndarray) -> float:
    """λ_max(AᵀA / m) of features A [m, d]."""
    rows, columns = features.shape
    gram = features @ features.T if rows < columns else features.T @ features
    return float(np.linalg.eigvalsh(gram)[-1]) / rows


def row_norms_sq(features: np.ndarray) -> np.ndarray:
    """‖a_j‖² of every example, float64[m]."""
    return np.einsum("md,md->m", features, features)


def _flattened(inputs: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    scale = 255.0 if inputs.dtype == np.uint8 else 1.0
    return (inputs.reshape(len(inputs), -1) / scale).astype(dtype)


def _widened(leaf: Array) -> Array:
    is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.asarray(np.asarray(leaf), jnp.float64 if is_float else leaf.dtype)
