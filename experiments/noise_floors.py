"""Where noise keeps SGD with late gradients: the stationary mean of ‖∇f(x)‖², exact on quadratics.

On a quadratic whose workers have independent noise of one covariance, coordinates along the curvatures a are alone, and
for every method here the global parameters follow a linear recursion with noise of variance α² s / n, s the variance of
one gradient in this coordinate:

    synchronous         x_{t+1} = x_t - α a x_t + noise
    τ steps late        x_{t+1} = x_t - α a (x_t / n + (1 - 1/n) x_{t-τ}) + noise
    late, stand-ins     x_{t+1} = x_t - α a x_t + noise

The second, because a worker has its own gradients at once and the others' are (x_{t-τ} - x_t) / α in sum; the third,
because what stands in for the others' gradients is right in the mean over workers. So 1/n of the noise is the same for
all, and what late messages cost is a factor of the fraction 1 - 1/n that is late: 1 for one worker, and soon the
same for all n. A server that applies one gradient of exponentially timed workers a step, with α / n, has the moments
of `server_variance`. Near a minimum every smooth f is such a quadratic, with its Hessian and the covariance of its
gradients.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import linalg, optimize

from elastic_jax.base import Problem
from elastic_jax.problems import finite_sum

Coordinates = tuple[np.ndarray, np.ndarray]
"""Curvatures a [d] and variances s [d] of one gradient along their directions."""


def late(coordinates: Coordinates, *, num_workers: int, step_size: float, delay: int) -> float:
    """The stationary E‖∇f(x)‖² if every message is `delay` steps late; 0 is synchronous SGD.

    Raises:
        ValueError: if the recursion is unstable, so that there is none.
    """
    fraction = 1 - 1 / num_workers
    total = 0.0
    for curvature, variance in zip(*coordinates, strict=True):
        recursion = np.eye(delay + 1, k=-1)
        recursion[0, 0] += 1 - step_size * curvature * (1 - fraction)
        recursion[0, -1] -= step_size * curvature * fraction
        if max(abs(np.linalg.eigvals(recursion))) >= 1:
            raise ValueError(f"α = {step_size:g} is unstable at curvature {curvature:g} and delay {delay}")
        noise = np.zeros_like(recursion)
        noise[0, 0] = step_size**2 * variance / num_workers
        total += curvature**2 * linalg.solve_discrete_lyapunov(recursion, noise)[0, 0]
    return float(total)


def server(coordinates: Coordinates, *, num_workers: int, step_size: float) -> float:
    """The stationary E‖∇f(x)‖² at a server with exponential clocks whose steps are α / n, α being `step_size`."""
    curvatures, variances = coordinates
    return float(np.sum(curvatures**2 * server_variance(curvatures, variances, num_workers, step_size / num_workers)))


def server_variance(curvatures: np.ndarray, variances: np.ndarray, num_workers: int, step: float) -> np.ndarray:
    """E x² at the server, [d], for steps h: x' = x - h (a v_I + noise), v_I' = x', I any worker.

    With P = E x² = E v_i², C = E x v_i, F = E v_i v_j in the stationary state, F = C / (1 + h a),
    C = P / n + (1 - 1/n) F and 2 h a C = h² (a² P + s).
    """
    scaled = step * curvatures
    together = (1 + scaled) / (1 + num_workers * scaled)  # C / P
    return step * variances / (2 * curvatures * together - step * curvatures**2)


def of_quadratic(problem: Problem) -> Coordinates:
    """Of `problems.quadratic` whose workers are all alike; its noise is the same in every coordinate."""
    curvatures = np.asarray(problem.data["curvatures"][0], np.float64)
    variance = problem.constants.grad_variance
    assert variance is not None
    return curvatures, np.full(len(curvatures), variance / len(curvatures))


def near_minimum(problem: Problem) -> Coordinates:
    """Of a finite sum of one worker with batches of 1, at the minimum to which descent leads from 0."""
    assert problem.num_workers == 1

    def objective(params: Array) -> Array:
        return problem.objective(params, problem.data)

    value_and_grad, hessian = jax.jit(jax.value_and_grad(objective)), jax.jit(jax.hessian(objective))

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = value_and_grad(jnp.asarray(flat, float))
        return float(value), np.asarray(grad, np.float64)

    start = np.zeros(jax.tree.leaves(problem.init(jax.random.key(0)))[0].shape)
    minimum = jnp.asarray(optimize.minimize(evaluate, start, jac=True, method="BFGS", options={"gtol": 1e-5}).x, float)
    curvatures, directions = np.linalg.eigh(np.asarray(hessian(minimum), np.float64))
    grads = np.asarray(finite_sum.enumerate_grads(problem, minimum)[0], np.float64)
    return curvatures, np.var(grads @ directions, axis=0)
