"""The event machine: workers that compute, each one gradient at a time, and the one that is done next.

    i = argmin_i r^i        the worker that is done next, after r^i seconds; the first of several
    r^j <- r^j - r^i        the others have so much less to do
    r^i <- a fresh time     where it begins anew, of the clock

It is a function of its state and of a key: no threads, and the same key is the same run.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from elastic_jax.base import Stacked
from elastic_jax.clocks import Clock


class Jobs(NamedTuple):
    """What every worker is at. Bytes: 8 * n."""

    remaining_times: Stacked[Array]
    """float32[n], simulated seconds. r^i: how long each still needs; ∞ before it has begun."""
    numbers: Stacked[Array]
    """int32[n]. How many gradients each has begun."""


def start(key: Array, clock: Clock, num_workers: int, *, message_seconds: float | Array = 0.0) -> Jobs:
    """All begin their first gradient.

    Args:
        key: of the schedule.
        clock: of `clocks`.
        num_workers: n.
        message_seconds: what a gradient takes besides computing it, the same for all.
    """
    resting = Jobs(jnp.full(num_workers, jnp.inf, jnp.float32), jnp.zeros(num_workers, jnp.int32))
    return begin(key, resting, clock, jnp.ones(num_workers, bool), message_seconds=message_seconds)


def next_done(jobs: Jobs) -> tuple[Array, Array]:
    """(int32[], float32[]): who is done next, and in how many seconds."""
    done, seconds = first_done(jobs.remaining_times, 1)
    return done[0], seconds


def first_done(times: Array, number: int) -> tuple[Array, Array]:
    """(int32[number], float32[]): places of the shortest of `times` float32[n], in their order, and the last of them.

    Of equal ones the first. Written as a CPU executes it fast: two reductions that become vector instructions, where
    `argmin` is a loop, 20 times as slow at n = 10,000; and barriers without which XLA sorts all to find a few. One
    barrier for both results would end the process where a program is for several devices.
    """
    if number == 1:
        shortest = jnp.min(times)
        places = jnp.arange(times.shape[0], dtype=jnp.int32)
        return jnp.min(jnp.where(times > shortest, times.shape[0], places))[None], shortest
    negative, first = (lax.optimization_barrier(found) for found in lax.top_k(-times, number))
    return first.astype(jnp.int32), -negative[-1]


def wait(jobs: Jobs, seconds: Array) -> Jobs:
    """Some seconds later, float32[] >= 0, at most until the next is done."""
    return jobs._replace(remaining_times=jobs.remaining_times - seconds)


def begin(key: Array, jobs: Jobs, clock: Clock, is_begun: Array, *, message_seconds: float | Array = 0.0) -> Jobs:
    """Workers bool[n] begin a gradient; what they were at is forgotten."""
    workers = jnp.arange(is_begun.shape[0], dtype=jnp.int32)
    fresh = clock.draw(key, workers, jobs.numbers) + message_seconds
    return Jobs(jnp.where(is_begun, fresh, jobs.remaining_times), jobs.numbers + is_begun.astype(jnp.int32))


def begin_some(key: Array, jobs: Jobs, clock: Clock, workers: Array, *, message_seconds: float | Array = 0.0) -> Jobs:
    """Workers int32[k], all different, begin a gradient; k times are drawn."""
    fresh = clock.draw(key, workers, jobs.numbers[workers]) + message_seconds
    return Jobs(jobs.remaining_times.at[workers].set(fresh), jobs.numbers.at[workers].add(1))


def begin_one(key: Array, jobs: Jobs, clock: Clock, worker: Array, *, message_seconds: float | Array = 0.0) -> Jobs:
    """Worker int32[] begins a gradient; one time is drawn."""
    return begin_some(key, jobs, clock, worker[None], message_seconds=message_seconds)
