"""Delay models draw what they declare: integers in [0, max_delay], with their mean and their distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from elastic_jax import delays

NUM_WORKERS, NUM_STEPS = 8, 2000
MODELS = {
    "constant": (delays.constant(3), [0, 0, 0, 1]),
    "constant(0)": (delays.constant(0), [1]),
    "uniform": (delays.uniform(4), [0.2] * 5),
    "uniform from 2": (delays.uniform(4, min_delay=2), [0, 0, 1 / 3, 1 / 3, 1 / 3]),
    "geometric": (delays.geometric(1.0, max_delay=3), np.array([8, 4, 2, 1]) / 15),
    "heavy_tailed": (delays.heavy_tailed(1.0, max_delay=2), np.array([1, 1 / 4, 1 / 9]) / (49 / 36)),
}


def draws(model, key):
    """int32[NUM_STEPS, NUM_WORKERS]: a fresh key for every step."""
    workers = jnp.arange(NUM_WORKERS, dtype=jnp.int32)
    keys = jax.random.split(key, NUM_STEPS)
    steps = jnp.arange(NUM_STEPS, dtype=jnp.int32)
    return jax.jit(jax.vmap(model.draw, (0, 0, None)))(keys, steps, workers)


@pytest.mark.parametrize("name", MODELS)
def test_draws_have_the_declared_distribution(name, key):
    """χ² of 16000 draws below its 1 - 1e-6 quantile; impossible delays never occur; the mean is exact."""
    model, probabilities = MODELS[name]
    drawn = draws(model, key)
    assert drawn.dtype == jnp.int32
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=model.max_delay + 1)
    expected = np.asarray(probabilities) * drawn.size
    assert len(counts) == len(expected) == model.max_delay + 1
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = np.sum((counts[possible] - expected[possible]) ** 2 / expected[possible])
    assert chi_square <= stats.chi2.isf(1e-6, max(1, possible.sum() - 1))
    assert model.mean == pytest.approx(np.dot(probabilities, np.arange(len(counts))))


@pytest.mark.parametrize("name", ["uniform", "geometric", "heavy_tailed"])
def test_workers_are_late_independently(name, key):
    """The delays of two workers in one step are uncorrelated, |r| < 5/√2000, and one worker's change."""
    drawn = np.asarray(draws(MODELS[name][0], key), float)
    correlations = np.corrcoef(drawn.T)[np.triu_indices(NUM_WORKERS, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(NUM_STEPS)
    assert np.abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 5 / np.sqrt(NUM_STEPS)


def test_a_trace_is_replayed_from_its_start():
    """Row t modulo the number of rows, column by worker: also for some workers in any order."""
    table = [[0, 1, 2], [3, 4, 5]]
    model = delays.trace(table)
    for t in range(5):
        for workers in ([0, 1, 2], [2, 0], [1]):
            drawn = model.draw(jax.random.key(t), jnp.int32(t), jnp.array(workers, jnp.int32))
            assert drawn.tolist() == [table[t % 2][worker] for worker in workers]
            assert drawn.dtype == jnp.int32
    assert (model.max_delay, model.mean) == (5, 2.5)


def test_the_whole_range_is_used_when_probabilities_are_tiny():
    """A mean far below the maximum leaves the largest delays possible but rare, and never exceeded."""
    model = delays.geometric(0.01, max_delay=50)
    assert model.max_delay == 50
    assert model.mean == pytest.approx(0.01, rel=1e-9)
    assert int(draws(model, jax.random.key(0)).max()) <= 50


def test_models_print_their_numbers():
    """Nothing is hidden in a closure."""
    assert "max_delay=4" in repr(delays.uniform(4).draw)
    assert "delay=3" in repr(delays.constant(3))
