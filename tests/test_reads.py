"""Read models hide what they declare: which coordinates of which of the last writes a read does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trajectories

from elastic_jax import base, oracles, reads
from elastic_jax.algorithms import shared_memory_sgd

TREE = {"a": jnp.zeros((20, 10)), "b": jnp.zeros(100), "c": jnp.zeros(())}
SIZE, DELAY, NUM_STEPS = 301, 4, 40


@pytest.fixture
def key():
    """Keys whose bits compile fast, ten times as fast as those of JAX."""
    return jax.random.key(5, impl=trajectories.quick_keys())


def recorded(model, key, params=TREE):
    return reads.record(model, key, num_steps=NUM_STEPS, params=params)


def within(count, num_draws, probability):
    """A binomial count within 5 standard deviations of its mean."""
    return abs(count - num_draws * probability) <= 5 * np.sqrt(num_draws * probability * (1 - probability))


def test_masks_hide_every_write_and_coordinate_with_the_declared_rate(key):
    """Each age has its rate within 5 standard deviations, and two ages are unseen independently."""
    table = recorded(reads.masks(DELAY, 0.3), key)
    assert table.shape == (NUM_STEPS, DELAY, SIZE)
    for age in range(DELAY):
        assert within(table[:, age].sum(), table[:, age].size, 0.3)
    both = table[:, 0] & table[:, 1]
    assert within(both.sum(), both.size, 0.09)
    next_coordinate = table[:, 0, 1:] & table[:, 0, :-1]
    assert within(next_coordinate.sum(), next_coordinate.size, 0.09)


@pytest.mark.parametrize(("rate", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_masks_of_extreme_rates_hide_nothing_or_all(rate, share, key):
    assert recorded(reads.masks(DELAY, rate), key).mean() == share


def test_ages_hide_the_last_writes_of_each_coordinate_uniformly_often(key):
    """What is unseen is the last a writes for some a, each a in 0..τ equally often, neighbours independently."""
    table = recorded(reads.ages(DELAY), key)
    assert np.all(table[:, :-1] >= table[:, 1:])
    found = table.sum(axis=1)
    for age in range(DELAY + 1):
        assert within((found == age).sum(), found.size, 1 / (DELAY + 1))
    same = found[:, 1:] == found[:, :-1]
    assert within(same.sum(), same.size, 1 / (DELAY + 1))


def test_a_consistent_read_has_one_age_for_all_coordinates(key):
    """All leaves miss the same writes, and every age occurs."""
    table = recorded(reads.whole(DELAY), key)
    assert np.all(table == table[:, :, :1])
    assert np.all(table[:, :-1] >= table[:, 1:])
    assert set(table[:, :, 0].sum(axis=1)) == set(range(DELAY + 1))


def test_the_worst_case_hides_everything_and_the_alternating_one_every_other_step(key):
    assert recorded(reads.oldest(DELAY), key).all()
    table = recorded(reads.alternating(DELAY), key)
    assert table[1::2].all()
    assert not table[::2].any()


@pytest.mark.parametrize("dtypes", [("float64", "float64"), ("float32", "float64")])
def test_the_adversary_hides_the_largest_coordinates_of_each_write(dtypes):
    """Of the whole model, in absolute value, rounded up; leaves may differ in dtype."""
    model = reads.largest(2, 0.4)
    writes = {
        "a": jnp.array([[1.0, -9.0], [0.5, 0.0]], dtypes[0]),
        "b": jnp.array([[[3.0, 2.0]], [[-7.0, 6.0]]], dtypes[1]),
    }
    unseen = model.draw(jax.random.key(0), jnp.int32(5), writes)
    assert model.is_adaptive
    assert unseen["a"].tolist() == [[False, True], [False, False]]
    assert unseen["b"].tolist() == [[[True, False]], [[True, True]]]


def test_only_the_adversary_looks_at_what_is_written(key):
    """All other models draw the same whatever the writes, and none of them says that it is adaptive."""
    random = np.random.default_rng(0)
    models = [reads.ages(2), reads.masks(2, 0.5), reads.whole(2), reads.oldest(2), reads.alternating(2)]
    writes = [jnp.asarray(random.normal(size=(2, 30))) for _ in range(2)]
    for model in [*models, reads.trace(random.random((3, 2, 30)) < 0.5)]:
        one, other = (model.draw(key, jnp.int32(1), each) for each in writes)
        np.testing.assert_array_equal(one, other)
        assert one.shape == (2, 30)
        assert one.dtype == bool
        assert not model.is_adaptive
    one, other = (reads.largest(2, 0.5).draw(key, jnp.int32(1), each) for each in writes)
    assert np.any(one != other)


@pytest.mark.parametrize("model", [reads.ages(3), reads.masks(3, 0.5), reads.alternating(3), reads.whole(0)])
def test_a_run_that_replays_its_record_is_the_same_run(model, key):
    """`record` returns what `trace` replays: same views, same ages, step for step, for a tree of parameters."""
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(2)}
    oracle = oracles.from_loss(lambda x, row: jnp.sum((x["w"] - row) ** 2) + jnp.sum((x["b"] - 3.0) ** 2))
    table = reads.record(model, key, num_steps=9, params=params)
    runs = []
    for each in (model, reads.trace(table)):
        algorithm = shared_memory_sgd.build(oracle, num_workers=2, step_size=0.05, reads=each)
        state, step = algorithm.init(key, params), jax.jit(algorithm.step)
        infos = []
        for t in range(9):
            state, info = step(base.step_key(key, t), state, jnp.array([1.0, 2.0]))
            infos.append((info.views, info.staleness))
        runs.append(infos)
    jax.tree.map(np.testing.assert_array_equal, *runs)


def test_a_trace_starts_again_after_its_last_row(key):
    table = np.random.default_rng(1).random((3, 2, 5)) < 0.5
    model = reads.trace(table)
    for t in range(7):
        np.testing.assert_array_equal(model.draw(key, jnp.int32(t), jnp.zeros((2, 5))), table[t % 3])


def test_views_and_ages_are_those_of_a_slow_program(key):
    """A list of all writes and loops over ages and coordinates give the same views and the same staleness."""
    table = np.random.default_rng(2).random((20, 3, 4)) < 0.4
    oracle = oracles.from_loss(lambda x, row: 0.5 * jnp.sum((x - row) ** 2))
    algorithm = shared_memory_sgd.build(oracle, num_workers=2, step_size=0.5, reads=reads.trace(table))
    state, data, memory, writes = algorithm.init(key, jnp.zeros(4)), jnp.array([[1.0], [3.0]]), np.zeros(4), []
    data, step, workers = jnp.tile(data, (1, 4)), jax.jit(algorithm.step), set()
    for t in range(20):
        state, info = step(base.step_key(key, t), state, data)
        view, oldest = memory.copy(), 0
        for age in range(1, min(t, 3) + 1):
            for coordinate in range(4):
                if table[t, age - 1, coordinate]:
                    view[coordinate] -= writes[t - age][coordinate]
                    oldest = max(oldest, age)
        np.testing.assert_allclose(info.views[0], view, atol=1e-14)
        assert info.staleness.tolist() == [oldest]
        workers.add(int(info.workers[0]))
        writes.append(-0.5 * (view - np.asarray(data[info.workers[0]])))
        memory += writes[-1]
        np.testing.assert_allclose(algorithm.global_params(state), memory, atol=1e-14)
    assert workers == {0, 1}


def test_a_ring_has_as_many_rows_as_writes_can_be_unseen(key):
    """τ rows; none at all where nothing is missed."""
    oracle = oracles.from_loss(lambda x, row: jnp.sum((x - row) ** 2))
    for delay in (0, 1, 5):
        algorithm = shared_memory_sgd.build(oracle, num_workers=2, reads=reads.whole(delay))
        leaves = jax.tree.leaves(algorithm.init(key, jnp.zeros(3)).writes)
        assert [leaf.shape for leaf in leaves] == ([(delay, 3)] if delay else [])


@pytest.mark.parametrize(
    "table", [[], [[True]], np.ones((2, 3, 4)), np.ones((2, 3, 4), int), np.ones((0, 3, 4), bool), "a", None]
)
def test_a_trace_is_a_table_of_booleans(table):
    with pytest.raises(ValueError, match=r"^recorded has shape .*it must be booleans"):
        reads.trace(table)


def test_what_does_not_fit_is_refused(key):
    """A trace of other parameters; a record of what depends on the run; what is no model."""
    table = np.ones((2, 1, 5), bool)
    algorithm = shared_memory_sgd.build(print, num_workers=2, reads=reads.trace(table))
    with pytest.raises(ValueError, match=r"^reads = a trace of 5 coordinates; .* 3$"):
        algorithm.init(key, jnp.zeros(3))
    with pytest.raises(ValueError, match=r"^model = one that looks at what is written"):
        reads.record(reads.largest(2, 0.5), key, num_steps=2, params=jnp.zeros(3))
    with pytest.raises(TypeError, match=r"^model = 3 is a int; .*reads\.ages"):
        reads.record(3, key, num_steps=2, params=jnp.zeros(3))
    with pytest.raises(TypeError, match=r"reads\.ages\(4\)"):
        reads.check(4)


def test_models_print_their_numbers():
    """Nothing is hidden in a closure."""
    assert "rate=0.25" in repr(reads.masks(3, 0.25).draw)
    assert "max_delay=4" in repr(reads.check(None).draw)
