"""Clocks draw positive times of the declared mean and imply the staleness at a server that they state."""

import heapq

import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import clocks

CLOCKS = {
    "exponential": clocks.exponential(2.0),
    "constant": clocks.constant(0.5),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_times_are_positive_with_the_declared_mean(name, key):
    """20000 draws, 5 standard errors; float32 seconds under x64 too."""
    clock = CLOCKS[name]
    drawn = clock.draw(key, jnp.arange(20_000, dtype=jnp.int32))
    times = np.asarray(drawn, float)
    assert drawn.dtype == jnp.float32
    assert drawn.shape == (20_000,)
    assert times.min() >= 0
    assert abs(times.mean() - clock.mean) <= 5 * times.std() / np.sqrt(len(times)) + 1e-6


def test_exponential_times_are_memoryless(key):
    """P(r > 1 + s | r > 1) = P(r > s) at the mean: the standard deviation is the mean, e⁻¹ exceed it."""
    times = np.asarray(clocks.exponential(3.0).draw(key, jnp.arange(20_000, dtype=jnp.int32)), float)
    share = np.mean(times > 3.0)
    assert abs(share - np.exp(-1)) < 5 * np.sqrt(share * (1 - share) / len(times))
    later = np.mean(times[times > 3.0] > 6.0)
    assert abs(later - np.exp(-1)) < 5 * np.sqrt(later * (1 - later) / np.sum(times > 3.0))


def simulated_staleness(clock, num_workers, num_arrivals, key):
    """A server written as a queue of events: how many updates each arrival has missed."""
    times = iter(np.asarray(clock.draw(key, jnp.zeros(num_arrivals + num_workers, jnp.int32)), float))
    arrivals = [(next(times), worker, 0) for worker in range(num_workers)]
    heapq.heapify(arrivals)
    staleness = []
    for step in range(num_arrivals):
        now, worker, read = heapq.heappop(arrivals)
        staleness.append(step - read)
        heapq.heappush(arrivals, (now + next(times), worker, step + 1))
    return np.array(staleness[20 * num_workers :], float)


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_the_staleness_at_a_server_is_the_one_that_is_stated(name, num_workers, key):
    """E[s] = n - 1, and E[s²] as stated within 6 standard errors over nearly independent blocks."""
    clock = CLOCKS[name]
    staleness = simulated_staleness(clock, num_workers, 40_000, key)
    assert staleness.mean() == pytest.approx(num_workers - 1, rel=0.02, abs=1e-12)
    blocks = np.array([block.mean() for block in np.array_split(staleness**2, 100)])
    stated = clock.staleness_second_moment(num_workers)
    assert abs(blocks.mean() - stated) <= 6 * blocks.std() / 10 + 1e-3 * stated
