"""What single mechanisms cost: the loop, random numbers, the ring of the past, worker means, convolutions in loops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from elastic_jax import base, convolutions, delays, oracles, run, stacked
from elastic_jax.algorithms import delayed_sgd, local_sgd
from elastic_jax.problems import quadratic


@dataclass(frozen=True)
class Rate:
    """One figure with its limit; `is_met` says whether it is on the right side."""

    name: str
    value: float
    unit: str
    limit: str
    is_met: bool


NOISY_SHARE = 0.83
"""Share of a bare loop's rate that steps with noise must reach: drawing is most of what they do, and how fast it goes
is the processor's business. On the machine where a bare loop draws for 1.07e5 steps/s this is 9e4."""


def all_rates(num_rounds: int) -> list[Rate]:
    """Every mechanism, measured over `num_rounds` rounds."""
    noisy, noisy_bare = _noisy_steps_per_second(None, 40_000, num_rounds)
    seeds, seeds_bare = _noisy_steps_per_second(64, 1000, num_rounds)
    return [
        _at_least("noiseless quadratic d=100, n=8", _steps_per_second(num_rounds), "steps/s", 2e6),
        _at_least("the same with gaussian noise", noisy, "steps/s", NOISY_SHARE * noisy_bare),
        _at_least("the same, 64 seeds vmapped", seeds, "seed-steps/s", NOISY_SHARE * seeds_bare),
        _at_most("convolution gradient in a loop / outside", _convolution_ratio(num_rounds), "ratio", 1.5),
        _at_most("worker mean / matrix-vector product, n=8, d=10⁶", _mean_ratio(num_rounds), "ratio", 1.2),
        _at_most("delayed SGD at d=10⁶, ring of τ=64 / of τ=16", _ring_ratio(num_rounds), "ratio", 1.3),
    ]


def _at_least(name: str, value: float, unit: str, limit: float) -> Rate:
    return Rate(name, value, unit, f">= {limit:g}", value >= limit)


def _at_most(name: str, value: float, unit: str, limit: float) -> Rate:
    return Rate(name, value, unit, f"<= {limit:g}", value <= limit)


def _steps_per_second(num_rounds: int) -> float:
    num_steps = 400_000
    return median(num_steps / _run_seconds(0.0, None, num_steps, each) for each in range(num_rounds))


def _noisy_steps_per_second(seeds: int | None, num_steps: int, num_rounds: int) -> tuple[float, float]:
    """Seed-steps a second of a run, and of a bare loop that only draws what the steps draw, in turn."""
    bare = jax.jit(partial(_draw, num_steps=num_steps))
    keys = jax.random.split(jax.random.key(0), seeds or 1)
    jax.block_until_ready(bare(keys))
    pairs = []
    for each in range(num_rounds):
        ours = _run_seconds(1.0, seeds, num_steps, each)
        start = time.perf_counter()
        jax.block_until_ready(bare(keys))
        pairs.append((ours, time.perf_counter() - start))
    total = num_steps * (seeds or 1)
    return total / median(pair[0] for pair in pairs), total / median(pair[1] for pair in pairs)


def _draw(keys: Array, *, num_steps: int) -> Array:
    """The sum of one gaussian vector for each of 8 workers, step and seed."""
    workers = jnp.arange(8, dtype=jnp.int32)

    def noise(key: Array) -> Array:
        return jax.vmap(partial(jax.random.normal, shape=(100,)))(stacked.worker_keys(key, workers))

    def body(t: Array, total: Array) -> Array:
        return total + jax.vmap(noise)(jax.vmap(jax.random.fold_in, (0, None))(keys, t))

    return lax.fori_loop(0, num_steps, body, jnp.zeros((len(keys), 8, 100)))


def _run_seconds(noise: float, seeds: int | None, num_steps: int, seed: int) -> float:
    problem = quadratic.build(num_workers=8, dim=100, noise=noise)
    algorithm = local_sgd.build(problem.oracle, num_workers=8)
    params, key = problem.init(jax.random.key(0)), jax.random.key(seed)
    return run.run(algorithm, params, problem.data, num_steps=num_steps, key=key, seeds=seeds, progress=False).seconds


def _convolution_ratio(num_rounds: int) -> float:
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 16, 32))
    images = jax.random.normal(jax.random.key(1), (16, 32, 32, 16))

    def loss(kernel: Array, images: Array) -> Array:
        out = lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.sum(jnp.square(out))

    grads = convolutions.canonicalize(jax.grad(loss, (0, 1)))

    def once(kernel: Array, images: Array) -> tuple[Array, Array]:
        kernel_grad, image_grad = grads(kernel, images)
        return kernel - 1e-9 * kernel_grad, images - 1e-9 * image_grad

    outside = jax.jit(once)
    inside = jax.jit(lambda *start: lax.fori_loop(0, 8, lambda _, carry: once(*carry), start))
    return _ratio(lambda: inside(kernel, images), lambda: outside(kernel, images), num_rounds) / 8


def _mean_ratio(num_rounds: int) -> float:
    rows = jax.random.normal(jax.random.key(0), (8, 1_000_000))
    weights = jnp.full(8, 1 / 8)
    product = jax.jit(lambda rows, weights: jnp.dot(weights, rows, precision=lax.Precision.HIGHEST))
    mean = jax.jit(stacked.worker_mean)
    return _ratio(lambda: mean(rows), lambda: product(rows, weights), num_rounds, calls=100)


def _ring_ratio(num_rounds: int) -> float:
    """What is written is one row, whatever the length of the ring; both rings are larger than any cache."""

    def seconds(max_delay: int) -> Callable[[], Any]:
        oracle = oracles.from_grad(_pull)
        algorithm = delayed_sgd.build(oracle, num_workers=1, delays=delays.constant(max_delay))
        data = jnp.zeros((1, 1))

        def steps(state: Any) -> Any:
            key = jax.random.key(0)
            return lax.fori_loop(0, 100, lambda t, state: algorithm.step(base.step_key(key, t), state, data)[0], state)

        compiled = jax.jit(steps, donate_argnums=0)
        held = [algorithm.init(jax.random.key(0), jnp.ones(1_000_000))]

        def call() -> Any:
            held[0] = compiled(held[0])
            return held[0]

        return call

    return _ratio(seconds(64), seconds(16), num_rounds)


def _pull(params: Array, batch: Array) -> Array:
    """The gradient of ½ ‖x - b‖²."""
    return params - batch


def _ratio(first: Callable[[], Any], second: Callable[[], Any], num_rounds: int, calls: int = 3) -> float:
    """Median seconds of `first` over those of `second`, called in turn."""

    def seconds(function: Callable[[], Any]) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(function())
        return time.perf_counter() - start

    seconds(first), seconds(second)
    pairs = [(seconds(first), seconds(second)) for _ in range(num_rounds)]
    return median(pair[0] for pair in pairs) / median(pair[1] for pair in pairs)
