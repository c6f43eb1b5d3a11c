"""Delay models draw what they declare: integers in [0, max_delay], with their mean and their distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from elastic_jax import base, delays

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


PAIRED = {**{name: model for name, (model, _) in MODELS.items()}, "alternating": delays.alternating(3)}


@pytest.mark.parametrize("name", PAIRED)
def test_every_pair_of_workers_has_a_delay_of_its_own(name, key):
    """int32[receiver, sender] in [0, max_delay], 0 to oneself; where there is chance, receivers differ."""
    model = PAIRED[name]
    drawn = np.asarray(model.draw_pairs(key, jnp.int32(1), jnp.zeros(NUM_WORKERS)))
    assert (drawn.shape, drawn.dtype) == ((NUM_WORKERS, NUM_WORKERS), np.int32)
    assert not np.diagonal(drawn).any()
    assert 0 <= drawn.min() <= drawn.max() <= model.max_delay
    off_diagonal = drawn[~np.eye(NUM_WORKERS, dtype=bool)]
    assert (drawn[0, 2:] == drawn[1, 2:]).all() == (name in ("constant", "constant(0)", "alternating"))
    assert off_diagonal.max() > 0 or model.max_delay == 0


def test_alternating_delays_overtake_each_other():
    """Worker i is late where t + i is odd, and its next message comes before."""
    model, workers = delays.alternating(3), jnp.arange(4, dtype=jnp.int32)
    drawn = [model.draw(jax.random.key(0), jnp.int32(t), workers).tolist() for t in range(2)]
    assert drawn == [[0, 3, 0, 3], [3, 0, 3, 0]]
    assert (model.max_delay, model.mean, model.is_adaptive) == (3, 1.5, False)


def test_an_adversary_delays_the_larger_half(key):
    """By the norm of what is sent, for every receiver but the sender; and it says that it looks."""
    model = delays.largest_late(5)
    drawn = model.draw_pairs(key, jnp.int32(0), jnp.array([3.0, 1.0, 4.0, 2.0]))
    assert drawn.tolist() == [[0, 0, 5, 0], [5, 0, 5, 0], [5, 0, 0, 0], [5, 0, 5, 0]]
    assert model.is_adaptive
    with pytest.raises(ValueError, match=r"^model = .* oblivious"):
        delays.record(model, key, num_steps=2, num_workers=2)
    with pytest.raises(ValueError, match=r"^delays = .* no delay of a worker alone"):
        model.draw(key, jnp.int32(0), jnp.arange(2))


def test_a_recorded_schedule_is_replayed(key):
    """`trace(record(...))` draws in step t what the model drew with the schedule's key of step t, then starts again."""
    model, zeros = delays.uniform(4), jnp.zeros(3)
    recorded = delays.record(model, key, num_steps=5, num_workers=3)
    replayed = delays.trace(recorded)
    assert replayed.is_paired
    for t in range(5):
        schedule = base.split_key(base.step_key(key, t)).schedule
        expected = model.draw_pairs(schedule, jnp.int32(t), zeros)
        for step in (t, t + 5):
            drawn = replayed.draw_pairs(jax.random.key(9), jnp.int32(step), zeros)
            np.testing.assert_array_equal(drawn, expected)
    assert len(np.unique(recorded)) > 2


def test_a_trace_of_pairs_has_no_delay_to_oneself():
    """A worker's own gradients are in its view at once."""
    with pytest.raises(ValueError, match="0 from a worker to itself"):
        delays.trace(np.ones((1, 2, 2), int))
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\)"):
        delays.trace(np.zeros((1, 2, 3), int))
