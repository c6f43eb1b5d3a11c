"""Runs in which gradients are nothing but noise: f is constant, and rows are as far apart as noise has made them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax.base import Algorithm, PyTree
from proofs_check import mixed, trajectory

NUM_PATHS = 64
"""Of an orthogonal array: it has room for 63 coins."""


def over_coins(algorithm: Algorithm, *, num_steps: int) -> np.ndarray:
    """float64[T + 1]. E‖(I - J) X_t‖² with one fair coin in {-1, +1} as the gradient of each worker, exactly.

    Rows are linear in the coins, so that second moments depend on pairs of coins alone: an orthogonal array of 64
    paths, on which any two coins take all four values equally often, gives what all 2^(n T) paths do.

    Args:
        algorithm: its oracle is not used.
        num_steps: T, n T < 64.
    """
    n = algorithm.num_workers
    table = _hadamard(NUM_PATHS)[:, 1 : 1 + num_steps * n]
    coins = table.reshape(NUM_PATHS, num_steps, n)
    key = trajectory.run_key(is_exact=True)
    with jax.enable_x64(True):
        keys = trajectory.step_keys(key[0], key[1][None], num_steps=num_steps)[0, :-1]
        one = partial(_consensus, algorithm=_with_oracle(algorithm, _coin), dim=1)
        over_paths = jax.jit(jax.vmap(one, (None, 0)), compiler_options=trajectory.QUICKLY)
        return np.asarray(over_paths(keys, coins)).mean(axis=0)


def over_coordinates(algorithm: Algorithm, *, num_steps: int, dim: int) -> np.ndarray:
    """float64[T + 1]. ‖(I - J) X_t‖²/d with independent standard normals as the gradients: d runs under one schedule.

    Args:
        algorithm: its oracle is not used.
        num_steps: T.
        dim: d.
    """
    key = trajectory.run_key(is_exact=False)
    with jax.enable_x64(True):
        keys = trajectory.step_keys(key[0], key[1][None], num_steps=num_steps)[0, :-1]
        one = partial(_consensus, algorithm=_with_oracle(algorithm, _normal), dim=dim)
        unused = jnp.zeros((num_steps, algorithm.num_workers))
        return np.asarray(jax.jit(one, compiler_options=trajectory.QUICKLY)(keys, unused)) / dim


def recursion(matrices: np.ndarray, of_updates: np.ndarray, *, num_workers: int, size: float) -> np.ndarray:
    """float64[T + 1]. tr((I - J) V_t) with V_0 = 0, V_{t+1} = W_t V_t W_tᵀ + α² σ² L_t P L_tᵀ, P = 1 on the workers.

    Args:
        matrices: float[T, r, r]. W_t.
        of_updates: float[T, r, r]. L_t.
        num_workers: n.
        size: α σ.
    """
    num_rows = matrices.shape[1]
    own = np.diag(np.arange(num_rows) < num_workers) * size**2
    covariances = [np.zeros((num_rows, num_rows))]
    for mixing, applied in zip(matrices, of_updates, strict=True):
        covariances.append(mixing @ covariances[-1] @ mixing.T + applied @ own @ applied.T)
    return np.array([np.trace(each) - each.sum() / num_rows for each in covariances])


def stationary(matrix: np.ndarray, *, period: int, num_workers: int, size: float, power: int = 2) -> float:
    """The mean of tr((I - J) V_t) over a period, in the end: Σ_m s_m² [(H/2)(1 + λ_m²)/(1 - λ_m²) - 1/2].

    λ_m are the eigenvalues of W - J of the modes u_m orthogonal to 1, and s_m² = α² σ² Σ_{i < n} u_m,i² is how much of
    the noise is in each.

    Args:
        matrix: float[r, r]. W, symmetric and doubly stochastic.
        period: H.
        num_workers: n.
        size: α σ.
        power: of |λ_m|; another one than 2 is a bug.
    """
    num_rows = len(matrix)
    # the direction 1 is given an eigenvalue that no other mode can have
    values, modes = np.linalg.eigh(matrix + 9.0 / num_rows)
    squares, noise = np.abs(values[:-1]) ** power, size**2 * np.square(modes[:num_workers, :-1]).sum(axis=0)
    return float(np.sum(noise * (period / 2 * (1 + squares) / (1 - squares) - 0.5)))


def _hadamard(size: int) -> np.ndarray:
    found = np.ones((1, 1))
    while len(found) < size:
        found = np.block([[found, found], [found, -found]])
    return found


def _with_oracle(algorithm: Algorithm, oracle: Any) -> Algorithm:
    return algorithm._replace(step=partial(algorithm.step, oracle=oracle))


def _consensus(keys: Array, coins: Array, *, algorithm: Algorithm, dim: int) -> Array:
    """[T + 1]. ‖(I - J) X_t‖² of one run from rows that are zero."""

    def advance(state: Any, inputs: tuple[Array, Array]) -> tuple[Any, Array]:
        key, coin = inputs
        new_state, _ = algorithm.step(key, state, coin)
        return new_state, _apart_sq(mixed.rows_of(new_state))

    state = algorithm.init(keys[0, 0], jnp.zeros(dim))
    _, seen = jax.lax.scan(advance, state, (keys, coins))
    return jnp.concatenate([jnp.zeros(1), seen])


def _apart_sq(rows: Array) -> Array:
    return jnp.sum(jnp.square(rows - jnp.mean(rows, axis=0, keepdims=True)))


def _coin(keys: Array, views: PyTree, data: Array, workers: Array) -> tuple[Array, PyTree]:
    """The gradient of a worker is its coin."""
    del keys
    return jnp.zeros(workers.shape[0]), jnp.broadcast_to(data[workers][:, None], views.shape)


def _normal(keys: Array, views: PyTree, data: Array, workers: Array) -> tuple[Array, PyTree]:
    """The gradient of a worker has independent standard normals as its coordinates."""
    del data
    draw = partial(jax.random.normal, shape=views.shape[1:], dtype=views.dtype)
    return jnp.zeros(workers.shape[0]), jax.vmap(draw)(keys)
