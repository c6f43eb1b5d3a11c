"""One row of the table: an algorithm's step on a workload, beside the ideal loop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import jax
import optax
from jax import Array, lax

from elastic_jax import algorithms, base, devices, keys, metrics, stacked
from elastic_jax.benchmarks.ideal import HandLoop
from elastic_jax.benchmarks.workloads import WORKLOADS

ROUND_SECONDS = 0.3
"""How long one timed round of each side should take: long beside the clock, short beside a noisy neighbour."""


@dataclass(frozen=True)
class Row:
    """Times are medians over rounds, of one step of all workers; `limit` is the ratio that is promised, if any."""

    algorithm: str
    problem: str
    num_workers: int
    device: str
    num_devices: int
    step_ms: float
    ideal_ms: float
    ratio: float
    num_active: int
    compile_s: float
    state_bytes: int
    formula_bytes: int
    limit: float | None


def measure(
    algorithm: str,
    workload: str,
    num_workers: int,
    num_devices: int,
    *,
    num_rounds: int,
    parts: Mapping[str, Any] | None = None,
) -> Row:
    """Times `num_rounds` rounds of the step and of the ideal loop, in turn.

    Args:
        algorithm: name of a variant.
        workload: a name in `WORKLOADS`.
        num_workers: n.
        num_devices: devices that the workers are spread over.
        num_rounds: rounds, >= 1.
        parts: arguments of `build` of the variant's own; its defaults if None.
    """
    mesh = devices.make_mesh(num_devices) if num_devices > 1 else None
    work = WORKLOADS[workload](num_workers, mesh)
    build, own = algorithms.variant(algorithm).build, parts or {}
    built = build(work.problem.oracle, num_workers=num_workers, step_size=1e-3, **own)
    params = work.problem.init(jax.random.key(0))
    # keys as `run.run` makes them
    state, data, key = built.init(jax.random.key(1), params), work.problem.data, keys.unrolled(jax.random.key(2))
    state_bytes, formula_bytes = stacked.num_bytes(state), metrics.promised_state_bytes(built, params)
    if mesh is not None:
        state, data, key = (
            devices.place(state, mesh),
            devices.place_data(data, mesh),
            devices.replicate(key, mesh),
        )

    start = time.perf_counter()
    # the state stays where it was placed, as in `run.run`
    placed = None if mesh is None else devices.shardings(state, mesh)
    jitted = jax.jit(_loop, static_argnums=0, donate_argnums=1, out_shardings=placed)
    loop = jitted.lower(built, state, data, key, 0, 1).compile()
    compile_s = time.perf_counter() - start

    hand = HandLoop(work, optax.sgd(1e-3), num_workers)
    hand.seconds(1, 1)

    def ours(num_steps: int) -> float:
        nonlocal state
        start = time.perf_counter()
        state = jax.block_until_ready(loop(state, data, key, 0, num_steps))
        return time.perf_counter() - start

    sides = [ours, lambda steps: hand.seconds(steps, 1), lambda steps: hand.seconds(steps, 2)]
    lengths = [_calibrate(side) for side in sides]
    rounds = [[side(length) / length for side, length in zip(sides, lengths, strict=True)] for _ in range(num_rounds)]
    step, *hands = (median(column) for column in zip(*rounds, strict=True))
    # an algorithm that uses k of its n workers in a step is compared with k hand-written steps, on at most k threads
    num_active = base.num_active(built, params, data)
    ideal = min(hands[:num_active]) * num_active / num_workers
    return Row(
        algorithm=algorithm,
        problem=workload,
        num_workers=num_workers,
        device=jax.devices()[0].device_kind,
        num_devices=num_devices,
        step_ms=step * 1e3,
        ideal_ms=ideal * 1e3,
        ratio=step / ideal,
        num_active=num_active,
        compile_s=compile_s,
        state_bytes=state_bytes,
        formula_bytes=formula_bytes,
        limit=_limit(workload, num_devices),
    )


def _loop(algorithm: base.Algorithm, state: Any, data: Any, key: Array, first: Array, num_steps: Array) -> Any:
    def body(t: Array, state: Any) -> Any:
        return algorithm.step(base.step_key(key, t), state, data)[0]

    return lax.fori_loop(first, first + num_steps, body, state)


def _calibrate(side: Any) -> int:
    """How many steps make a round; the first call warms up."""
    side(1)
    length = 1
    while (seconds := side(length)) < ROUND_SECONDS / 4:
        length *= 4
    return max(1, round(length * ROUND_SECONDS / seconds))


def _limit(workload: str, num_devices: int) -> float | None:
    if jax.default_backend() != "cpu":
        return None
    if num_devices > 1:
        return 1.1
    return 1.6 if workload.startswith(("resnet", "transformer")) else 1.15
