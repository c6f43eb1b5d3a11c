"""Crash models keep their budget, replay bit for bit, and leave the survivors with what they heard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import base, crashes, oracles
from elastic_jax.algorithms import crash_sgd

N, NUM_STEPS = 5, 40
ORACLE = oracles.from_loss(lambda x, row: 0.5 * jnp.sum((x - row) ** 2))
ROWS = jnp.arange(N, dtype=float)[:, None] ** 2


def run(algorithm, key, num_steps=12):
    """States after each step, what happened in it, and x_t."""
    state, states, infos = algorithm.init(key, jnp.ones(1)), [], []
    step = jax.jit(algorithm.step)
    for t in range(num_steps):
        state, info = step(base.step_key(key, t), state, ROWS)
        states.append(state)
        infos.append(info)
    return states, infos


def deaths(recorded):
    """[(step, worker)] of a record."""
    return [tuple(map(int, place)) for place in np.argwhere(~np.diagonal(recorded, axis1=1, axis2=2))]


@pytest.mark.parametrize("max_crashes", [0, 1, 3, 4, 9])
def test_the_budget_is_kept_and_somebody_stays_alive(max_crashes):
    """With a rate at which all would die at once, exactly min(f, n - 1) do, nobody twice."""
    model = crashes.random(max_crashes, rate=0.9)
    step, alive = jax.jit(model.draw), jnp.ones(N, bool)
    total = 0
    for t in range(10):
        is_dying, _ = step(jax.random.key(t), jnp.int32(t), alive)
        assert not np.any(is_dying & ~alive)
        total += int(is_dying.sum())
        alive &= ~is_dying
    assert total == min(max_crashes, N - 1)
    assert int(alive.sum()) == N - total


def test_workers_die_and_messages_reach_at_the_given_rates(key):
    """2000 first steps: the mean number of deaths and the share reached are within 5 standard errors; all can die."""
    model = crashes.random(N - 1, rate=0.1, reach=0.3)
    draw = jax.jit(jax.vmap(model.draw, (0, None, None)))
    is_dying, reaches = draw(jax.random.split(key, 2000), jnp.int32(0), jnp.ones(N, bool))
    per_worker = np.asarray(is_dying).mean(axis=0)
    assert np.abs(per_worker - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / 2000)
    assert np.asarray(reaches).mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / reaches.size))


def test_the_worst_case_attains_the_bound(key):
    """Everybody but worker 0 lacks f gradients for ever: with equal gradients ‖x - v‖² = α² (f/n)² M² exactly."""
    oracle = oracles.from_loss(lambda x, row: jnp.sum(x) + 0 * jnp.sum(row))
    algorithm = crash_sgd.build(oracle, num_workers=N, step_size=0.5, crashes=crashes.worst(3, at=2))
    bound = algorithm.consistency_bound(base.Constants(grad_second_moment=1.0), jnp.ones(1))
    states, infos = run(algorithm, key)
    before = jnp.ones(1)
    for t, (state, info) in enumerate(zip(states, infos, strict=True)):
        distances = np.asarray(before[None] - info.views)[:, 0] ** 2
        np.testing.assert_allclose(distances, [0, bound, 0, 0, 0] if t > 2 else 0, atol=1e-12)
        assert info.workers.tolist() == ([0, 1, -1, -1, -1] if t > 2 else [0, 1, 2, 3, 4])
        before = state.params


@pytest.mark.parametrize("substitute", [False, True])
def test_a_crash_schedule_replays_bit_for_bit_from_a_file(substitute, key, tmp_path):
    """Recorded, saved with `np.savez`, loaded and replayed: every number of the run is the same; other keys differ."""
    model = crashes.random(3, rate=0.2)
    recorded = crashes.record(model, key, num_steps=12, num_workers=N)
    assert len(deaths(recorded)) == 3
    np.savez(tmp_path / "trace.npz", crashes=recorded)
    replayed = crashes.trace(np.load(tmp_path / "trace.npz")["crashes"])
    assert replayed.max_crashes == 3
    first, second = (
        run(crash_sgd.build(ORACLE, num_workers=N, crashes=each, substitute=substitute), key)
        for each in (model, replayed)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    np.testing.assert_array_equal(crashes.record(replayed, jax.random.key(1), num_steps=12, num_workers=N), recorded)
    assert np.any(crashes.record(model, jax.random.key(1), num_steps=12, num_workers=N) != recorded)


def test_a_record_is_of_the_run_with_two_keys_too(key):
    """The first of two stacked keys is that of the schedule."""
    model, keys = crashes.random(3, rate=0.2), jax.random.split(key)
    recorded = crashes.record(model, keys, num_steps=12, num_workers=N)
    _, infos = run(crash_sgd.build(ORACLE, num_workers=N, crashes=model), keys)
    dead = [[worker for worker in range(N) if worker not in info.workers] for info in infos]
    assert dead == [sorted(worker for step, worker in deaths(recorded) if step < t) for t in range(12)]


def test_after_a_trace_nobody_dies(key):
    """The last row is not repeated upon the living."""
    hears = np.ones((2, 3, 3), bool)
    hears[1, 1, 1] = hears[1, 0, 1] = False
    states, infos = run_of_three(crashes.trace(hears), key)
    assert states[-1].is_alive.tolist() == [True, False, True]
    assert [info.workers.tolist() for info in infos] == [[0, 1, 2]] * 2 + [[0, -1, 2]] * 3


def run_of_three(model, key, **more):
    oracle = oracles.from_loss(lambda x, row: jnp.sum(x * row))
    algorithm = crash_sgd.build(oracle, num_workers=3, step_size=3.0, crashes=model, **more)
    state, states, infos = algorithm.init(key, jnp.zeros(3)), [], []
    for t in range(5):
        state, info = algorithm.step(base.step_key(key, t), state, jnp.eye(3))
        states.append(state)
        infos.append(info)
    return states, infos


def test_who_has_heard_what(key):
    """A roll call: coordinate j of y^i counts what i heard of j; unheard by all counts nowhere but at the dead."""
    hears = np.ones((3, 3, 3), bool)
    hears[0, 2, 2] = hears[0, 0, 2] = False  # worker 2 dies in step 0, and worker 1 alone hears it
    hears[1, 1, 1] = hears[1, 0, 1] = False  # worker 1 dies in step 1, unheard
    states, infos = run_of_three(crashes.trace(hears), key)
    assert (-states[1].params).tolist() == [2, 1, 1]
    assert (-states[1].received_params[0]).tolist() == [2, 1, 0]
    assert infos[1].weights.tolist() == [pytest.approx(1 / 3), 0, 0]
    assert (-states[4].received_params[0]).tolist() == [5, 1, 0]
    np.testing.assert_array_equal(infos[2].views[1:], np.stack([states[1].params] * 2))

    states, infos = run_of_three(crashes.trace(hears), key, substitute=True)
    assert (-states[1].params).tolist() == [2, 2, 1]
    assert (-states[1].received_params[0]).tolist() == [4, 1, 0]
    assert (-states[4].received_params[0]).tolist() == [7, 1, 0]


def test_a_budget_for_all_workers_is_refused():
    """A budget f >= n, by name, value and range; a trace of other workers, or one that kills all."""
    with pytest.raises(ValueError, match=r"^max_crashes = 4 is out of range; it must be an integer in \[0, 3\]"):
        crash_sgd.build(ORACLE, num_workers=4, crashes=crashes.random(4, rate=0.1))
    with pytest.raises(ValueError, match=r"^crashes = a trace of 3 workers; it must have num_workers = 4"):
        crash_sgd.build(ORACLE, num_workers=4, crashes=crashes.trace(np.ones((2, 3, 3), bool)))
    with pytest.raises(ValueError, match=r"^recorded has crashes of all 2 workers"):
        crashes.trace(np.zeros((1, 2, 2), bool))
    assert crash_sgd.build(ORACLE, num_workers=1).num_workers == 1


@pytest.mark.parametrize("recorded", [[], [True], np.ones((2, 3, 3)), np.ones((2, 3, 4), bool), None, 3])
def test_a_trace_is_a_table_of_booleans(recorded):
    """bool[num_steps, num_workers, num_workers]."""
    with pytest.raises(ValueError, match=r"^recorded has shape .*it must be booleans"):
        crashes.trace(recorded)


def test_bounds_know_when_noise_is_enough():
    """With substitution 2 f M / n, or 1.5 σ f / n for identical workers and small α; without, f M / n."""

    def bound(substitute, step_size=0.5, **changed):
        algorithm = crash_sgd.build(
            ORACLE, num_workers=4, step_size=step_size, crashes=crashes.worst(2), substitute=substitute
        )
        known = base.Constants(smoothness=1 / 3, grad_variance=1.0, grad_second_moment=9.0, heterogeneity=0.0)
        return algorithm.consistency_bound(known._replace(**changed), jnp.ones(1))

    assert bound(False) == pytest.approx((0.5 * 0.5 * 3) ** 2)
    assert bound(True) == pytest.approx((0.5 * 0.5 * 1.5) ** 2)
    for changed in ({"heterogeneity": 0.1}, {"grad_variance": None}, {"smoothness": 0.7}):
        assert bound(True, **changed) == pytest.approx((0.5 * 0.5 * 6) ** 2)
    assert bound(True, heterogeneity=0.1, grad_second_moment=None) is None
    assert bound(True, grad_second_moment=None) == pytest.approx((0.5 * 0.5 * 1.5) ** 2)
