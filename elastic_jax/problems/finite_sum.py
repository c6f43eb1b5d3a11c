"""Finite sums over examples: exact expectations by enumeration, certified constants, minimisers to machine precision.

    f = (1/n) Σ_i f_i,    f_i(x) = (1/m_i) Σ_j loss(x, ξ_ij)

A stochastic gradient is that of a mini-batch of b examples drawn with replacement from the worker's own, so its mean
is ∇f_i and its variance is 1/b of that of one example: both are sums over the examples, taken here without sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import optimize
from scipy.sparse import linalg

from elastic_jax import arguments, data
from elastic_jax.base import Params, Problem, PyTree, Shards

Loss = Callable[[Params, PyTree], Array]
"""`loss(params, batch) -> float[]`: the mean over the batch, leaves [b, ...], plus what does not depend on it."""

LARGEST_SOLVED = 20_000_000
"""Examples times parameters up to which `build` computes x*: some seconds. `minimise` itself has no limit."""


RESIDUAL = 1e-12
"""The largest norm of the gradient at what `minimise` returns, gradient units."""

MAX_NEWTON_STEPS = 20


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
    n, longest = jax.tree.leaves(grads)[0].shape[:2]
    flat = jnp.concatenate([leaf.reshape(n, longest, -1) for leaf in jax.tree.leaves(grads)], axis=2)
    is_real = jnp.arange(longest, dtype=jnp.int32)[None] < sizes[:, None]
    weights = is_real.astype(flat.dtype) / sizes[:, None].astype(flat.dtype)
    mean = jax.tree.map(lambda leaf: jnp.einsum("nm,nm...->n...", weights, leaf), grads)
    flat_mean = jnp.einsum("nm,nmd->nd", weights, flat)
    # from the centred gradients: the difference of two second moments would lose its digits near an optimum
    offsets_sq = jnp.sum((flat - flat_mean[:, None]) ** 2, axis=2)
    variance = jnp.einsum("nm,nm->n", weights, offsets_sq) / batch_size
    return Moments(mean, variance, variance + jnp.sum(flat_mean**2, axis=1))


def objective(params: Params, shards: Shards, *, loss: Loss) -> Array:
    """f(params), exactly, float[]: the mean over workers of the mean loss over their own examples."""

    def of_example(example: PyTree) -> Array:
        return loss(params, jax.tree.map(lambda leaf: leaf[None], example))

    losses = jax.vmap(jax.vmap(of_example))(shards.examples)
    is_real = jnp.arange(losses.shape[1], dtype=jnp.int32)[None] < shards.sizes[:, None]
    return jnp.mean(jnp.sum(jnp.where(is_real, losses, 0), axis=1) / shards.sizes.astype(losses.dtype))


def minimise(loss: Loss, shards: Shards, shape: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """x* float64[shape] and f(x*) of a convex f that has a minimum, with ‖∇f(x*)‖ <= 1e-12, in float64.

    L-BFGS, then Newton's method with its steps by conjugate gradients, so that no Hessian is ever formed.

    Raises:
        ArithmeticError: where the gradient cannot be made that small.
    """
    size = math.prod(shape)
    with jax.enable_x64(True):
        wide = jax.tree.map(_widened, shards)

        def function(flat: Array, examples: Shards) -> Array:
            return objective(flat.reshape(shape), examples, loss=loss)

        def directional(flat: Array, direction: Array, examples: Shards) -> Array:
            return jax.jvp(lambda point: jax.grad(function)(point, examples), (flat,), (direction,))[1]

        value_and_grad, product = jax.jit(jax.value_and_grad(function)), jax.jit(directional)

        def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, grad = value_and_grad(flat, wide)
            return float(value), np.asarray(grad)

        found = optimize.minimize(
            evaluate, np.zeros(size), jac=True, method="L-BFGS-B", options={"gtol": 1e-7, "ftol": 0.0, "maxiter": 2000}
        )
        optimum = np.asarray(found.x)
        value, slope = evaluate(optimum)
        for _ in range(MAX_NEWTON_STEPS):
            if np.linalg.norm(slope) <= RESIDUAL / 100:
                break
            hessian = linalg.LinearOperator(
                (size, size), lambda v, at=optimum: np.asarray(product(at, v.reshape(size), wide)), dtype=np.float64
            )
            with np.errstate(divide="ignore", invalid="ignore"):  # no curvature, no step: the residual says so below
                proposal = optimum - linalg.cg(hessian, slope, rtol=1e-8, maxiter=10 * size)[0]
            proposed_value, proposed_slope = evaluate(proposal)
            if not np.linalg.norm(proposed_slope) < np.linalg.norm(slope):
                break
            optimum, value, slope = proposal, proposed_value, proposed_slope
    residual = float(np.linalg.norm(slope))
    if not residual <= RESIDUAL:
        raise ArithmeticError(f"the minimiser was not found: its gradient has norm {residual:.3g}, not {RESIDUAL:.0e}")
    return optimum.reshape(shape), value


def minimise_if_small(loss: Loss, shards: Shards, shape: tuple[int, ...]) -> tuple[np.ndarray | None, float | None]:
    """`minimise`, or (None, None) above `LARGEST_SOLVED`."""
    if int(np.sum(np.asarray(shards.sizes))) * math.prod(shape) > LARGEST_SOLVED:
        return None, None
    return minimise(loss, shards, shape)


def zeros(key: Array, *, shape: tuple[int, ...]) -> Array:
    """The starting point 0, float[shape]."""
    del key
    return jnp.zeros(shape)


def held_out(
    params: Params, *, batch: PyTree, measure: Callable[[Params, PyTree], dict[str, Array]]
) -> dict[str, Array]:
    """`measure` on the held-out batch; {} where there is none."""
    return {} if batch is None else measure(params, batch)


Source = data.Dataset | tuple[Any, Any]
"""Where examples come from: a data set of `data`, or a pair of raw arrays (inputs [m, ...], targets [m])."""


class Examples(NamedTuple):
    """Real or synthetic examples in float, as the analytic losses take them."""

    features: np.ndarray
    """float[m, d]."""
    targets: np.ndarray
    """int32[m] or float[m]."""
    held_out: tuple[Array, Array] | None
    """Features [k, d] and targets [k] for evaluation; None where there are none."""
    num_classes: int


def examples(dataset: Source | None, *, num_examples: int, dim: int, num_classes: int, seed: int) -> Examples:
    """The examples of `dataset`, flattened and scaled to [0, 1] if they are bytes; synthetic ones for None.

    The synthetic ones are gaussian features of norm about 1, labelled by a random linear rule of which a tenth is
    flipped, so that no hyperplane separates them.

    Args:
        dataset: of `data`, or a pair of raw arrays (inputs [m, ...], targets [m]).
        num_examples: m >= 1, of the synthetic ones.
        dim: d >= 1, of the synthetic ones.
        num_classes: of the synthetic ones; 0 for real targets.
        seed: of the synthetic ones.
    """
    dtype = np.dtype(jnp.result_type(float))
    if dataset is not None:
        return _given(dataset, dtype)
    num_examples = arguments.integer("num_examples", num_examples, low=1)
    dim = arguments.integer("dim", dim, low=1)
    random = np.random.default_rng(arguments.integer("seed", seed, low=0))
    features = (random.normal(size=(num_examples, dim)) / np.sqrt(dim)).astype(dtype)
    if num_classes == 0:
        targets = features @ random.normal(size=dim) + random.normal(size=num_examples)
        return Examples(features, targets.astype(dtype), None, 0)
    labels = np.argmax(features @ random.normal(size=(dim, num_classes)), axis=1)
    flipped = random.random(num_examples) < 0.1
    labels = np.where(flipped, random.integers(0, num_classes, num_examples), labels)
    return Examples(features, labels.astype(np.int32), None, num_classes)


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


def _given(dataset: Source, dtype: np.dtype[Any]) -> Examples:
    if isinstance(dataset, data.Dataset):
        data.check(dataset)
        tests = None
        if len(dataset.test_inputs):
            tests = (jnp.asarray(_flattened(dataset.test_inputs, dtype)), jnp.asarray(dataset.test_targets))
        features = _flattened(dataset.train_inputs, dtype)
        return Examples(features, dataset.train_targets, tests, dataset.num_classes)
    hint = 'e.g. data.load("digits"), or a pair (inputs [m, ...], targets [m])'
    if len(arguments.instance("dataset", dataset, tuple, hint)) != 2:
        raise ValueError(f"dataset = {arguments.describe(dataset)}; it must be a pair (inputs [m, ...], targets [m])")
    inputs, targets = (arguments.array(f"dataset[{place}]", part) for place, part in enumerate(dataset))
    if not inputs.ndim or targets.shape != inputs.shape[:1] or not len(inputs):
        raise ValueError(
            f"dataset has inputs of shape {list(inputs.shape)} and targets of shape {list(targets.shape)}; they must "
            "be [m, ...] and [m] with the same m >= 1"
        )
    if not np.issubdtype(targets.dtype, np.integer):
        return Examples(_flattened(inputs, dtype), targets.astype(dtype), None, 0)
    if targets.min() < 0:
        raise ValueError(f"dataset has the label {targets.min()}; labels must be 0, 1, ..., C - 1")
    return Examples(_flattened(inputs, dtype), targets.astype(np.int32), None, int(targets.max()) + 1)


def _flattened(inputs: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    if not np.isfinite(inputs).all():
        raise ValueError("dataset has inputs that are not finite; every one must be a finite number")
    scale = 255.0 if inputs.dtype == np.uint8 else 1.0
    return (inputs.reshape(len(inputs), -1) / scale).astype(dtype)


def _widened(leaf: Array) -> Array:
    is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.asarray(np.asarray(leaf), jnp.float64 if is_float else leaf.dtype)
