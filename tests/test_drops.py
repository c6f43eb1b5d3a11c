"""Drop models drop what they declare, replay bit for bit, and nothing is lost that goes with the next message."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import base, drops, oracles
from elastic_jax.algorithms import lossy_sgd

N = 4
ORACLE = oracles.from_loss(lambda x, row: 0.5 * jnp.sum((x - row) ** 2))
ROWS = jnp.arange(N, dtype=float)[:, None] ** 2
ROLL_CALL = oracles.from_loss(lambda x, row: jnp.sum(x * row))
MODES = list(itertools.product([False, True], [False, True], [None, 3]))


def run(algorithm, key, num_steps=12, params=None, data=ROWS):
    """States after each step and what happened in it."""
    state, states, infos = algorithm.init(key, jnp.ones(1) if params is None else params), [], []
    step = jax.jit(algorithm.step)
    for t in range(num_steps):
        state, info = step(base.step_key(key, t), state, data)
        states.append(state)
        infos.append(info)
    return states, infos


def test_independent_drops_have_their_rate(key):
    """4000 steps: each pair is within 5 standard errors of q, none to oneself, and pairs are uncorrelated."""
    recorded = drops.record(drops.random(0.3), key, num_steps=4000, num_workers=N)
    off_diagonal = ~np.eye(N, dtype=bool)
    assert recorded[:, ~off_diagonal].all()
    is_dropped = 1.0 - recorded[:, off_diagonal]
    assert np.abs(is_dropped.mean(axis=0) - 0.3).max() < 5 * np.sqrt(0.21 / 4000)
    correlations = np.corrcoef(is_dropped.T)[np.triu_indices(N * (N - 1), 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)
    assert np.abs(np.corrcoef(is_dropped[:-1, 0], is_dropped[1:, 0])[0, 1]) < 5 / np.sqrt(4000)


def test_models_declare_how_many_in_a_row_they_drop():
    """Counted in the trace, which wraps around; no limit where a channel never works, or for independent drops."""
    table = np.ones((5, 2, 2), bool)
    table[[0, 1, 4], 0, 1] = False
    model = drops.trace(table)
    assert (model.max_consecutive, model.rate) == (3, None)
    table[:, 0, 1] = False
    assert drops.trace(table).max_consecutive is None
    assert drops.trace(np.ones((2, 3, 3), bool)).max_consecutive == 0
    assert (drops.alternating().max_consecutive, drops.alternating().rate) == (1, None)
    assert (drops.random(0.5).max_consecutive, drops.random(0.5).rate) == (None, 0.5)
    assert drops.random(0.0).max_consecutive == drops.none().max_consecutive == 0


@pytest.mark.parametrize(("piggyback", "substitute", "max_missing"), MODES)
def test_a_drop_schedule_replays_bit_for_bit_from_a_file(piggyback, substitute, max_missing, key, tmp_path):
    """Recorded, saved with `np.savez`, loaded and replayed: every number of the run is the same; other keys differ."""
    model = drops.random(0.4)
    recorded = drops.record(model, key, num_steps=8, num_workers=N)
    np.savez(tmp_path / "trace.npz", drops=recorded)
    replayed = drops.trace(np.load(tmp_path / "trace.npz")["drops"])
    given = {"piggyback": piggyback, "substitute": substitute, "max_missing": max_missing}
    first, second = (
        run(lossy_sgd.build(ORACLE, num_workers=N, drops=each, **given), key, 8) for each in (model, replayed)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert np.any(drops.record(model, jax.random.key(1), num_steps=8, num_workers=N) != recorded)


@pytest.mark.parametrize(("piggyback", "substitute", "max_missing"), MODES)
def test_who_has_heard_what(piggyback, substitute, max_missing, key):
    """A roll call against a slow program: coordinate j of the view of i counts what i heard of j, and stand-ins."""
    recorded = drops.record(drops.random(0.5), key, num_steps=10, num_workers=N)
    algorithm = lossy_sgd.build(
        ROLL_CALL,
        num_workers=N,
        step_size=float(N),
        drops=drops.trace(recorded),
        piggyback=piggyback,
        substitute=substitute,
        max_missing=max_missing,
    )
    _, infos = run(algorithm, key, 10, params=jnp.zeros(N), data=jnp.eye(N))
    has, lacks = np.zeros((N, N), int), np.zeros((N, N), int)
    for t in range(10):
        expected = has + np.diag(lacks.sum(axis=1)) if substitute else has
        np.testing.assert_array_equal(-infos[t].views, expected)
        oldest = lacks.max(axis=1) if piggyback else np.zeros(N)
        np.testing.assert_array_equal(infos[t].staleness, oldest)
        for i in range(N):
            budget = np.inf if max_missing is None else max_missing
            missing_after = 0 if piggyback else lacks[i].sum()
            for j in range(N):
                if not recorded[t, i, j]:
                    missing_after += lacks[i, j] + 1 if piggyback else 1
                is_heard = recorded[t, i, j] or missing_after > budget
                if is_heard:
                    has[i, j] += 1 + (lacks[i, j] if piggyback else 0)
                    lacks[i, j] = 0 if piggyback else lacks[i, j]
                else:
                    lacks[i, j] += 1
        assert max_missing is None or lacks.sum(axis=1).max() <= max_missing
    assert lacks.any()


def test_x_is_the_same_whoever_is_asked(key):
    """x_t = y_t^i + (1/n) Σ_j P_t^ij for every worker i."""
    states, _ = run(lossy_sgd.build(ORACLE, num_workers=N, drops=drops.random(0.5)), key)
    for state in states:
        each = state.received_params + state.pendings.sum(axis=1) / N
        np.testing.assert_allclose(each, np.broadcast_to(each[:1], each.shape), rtol=1e-12)


def test_without_a_budget_what_is_lost_for_ever_grows_without_end(key):
    """The distance grows in proportion to the steps, no bound is promised; with a budget it stays."""
    oracle = oracles.from_loss(lambda x, row: jnp.sum(x) + 0 * jnp.sum(row))

    def distances(max_missing):
        algorithm = lossy_sgd.build(
            oracle, num_workers=N, drops=drops.alternating(), piggyback=False, max_missing=max_missing
        )
        bound = algorithm.consistency_bound(base.Constants(grad_second_moment=1.0), jnp.ones(1))
        states, infos = run(algorithm, key, 40)
        before = [jnp.ones(1), *[state.params for state in states[:-1]]]
        return bound, [float(np.abs(x[None] - info.views).max()) for x, info in zip(before, infos, strict=True)]

    bound, grows = distances(None)
    assert bound is None
    assert grows[39] == pytest.approx(0.1 * 20 * 3 / 4)
    assert grows[39] > 1.9 * grows[20]
    bound, stays = distances(5)
    assert max(stays) == pytest.approx(stays[39]) == pytest.approx(bound**0.5)


def test_bits_are_what_has_to_be_sent(key):
    """One message for all to whom nothing is pending, one to each of the others."""
    table = np.ones((3, 3, 3), bool)
    table[0, 1, 0] = False  # what 0 sends to 1
    table[1, 1:, 0] = False  # what 0 sends to 1 and 2
    algorithm = lossy_sgd.build(ORACLE, num_workers=3, drops=drops.trace(table))
    _, infos = run(algorithm, key, 3, data=ROWS[:3])
    assert [(info.bits_sent / 64).tolist() for info in infos] == [[1, 1, 1], [2, 1, 1], [2, 1, 1]]


def test_bounds_take_what_is_known():
    """A budget, drops in a row, the mean of independent ones, and the noise with substitution: the smallest."""

    def bound(drop_model, constants=None, step_size=1.0, **more):
        algorithm = lossy_sgd.build(ORACLE, num_workers=N, step_size=step_size, drops=drop_model, **more)
        return algorithm.consistency_bound(constants or base.Constants(grad_second_moment=16.0), jnp.ones(1))

    geometric = (3 * 0.5 + 9 * 0.25) / 0.25
    assert bound(drops.random(0.5)) == pytest.approx(geometric)
    assert bound(drops.random(0.5), substitute=True) == pytest.approx(4 * geometric)
    assert bound(drops.random(0.5), max_missing=2) == pytest.approx(4)
    assert bound(drops.random(0.01), max_missing=2) == pytest.approx((0.03 + 0.0009) / 0.9801)
    assert bound(drops.alternating()) == pytest.approx(9)
    assert bound(drops.random(0.5), piggyback=False) is None
    assert bound(drops.random(0.5), piggyback=False, max_missing=2) == pytest.approx(4)
    assert bound(drops.random(0.5), piggyback=False, max_missing=0) == 0
    assert bound(drops.none(), base.Constants()) == bound(drops.none(), base.Constants(), piggyback=False) == 0
    noisy = base.Constants(smoothness=1 / 5, grad_variance=1.0, grad_second_moment=16.0, heterogeneity=0.0)
    assert bound(drops.alternating(), noisy, substitute=True) == pytest.approx((1.5 * 3 / 4) ** 2)
    assert bound(drops.alternating(), noisy, step_size=2.0, substitute=True) == pytest.approx(4 * 4 * 9)


def test_drops_that_do_not_fit_are_refused():
    """Another number of workers, a worker that does not hear itself, a table of something else."""
    with pytest.raises(ValueError, match=r"^drops = a trace of 3 workers; it must have num_workers = 4"):
        lossy_sgd.build(ORACLE, num_workers=4, drops=drops.trace(np.ones((2, 3, 3), bool)))
    with pytest.raises(ValueError, match=r"^recorded is False on the diagonal"):
        drops.trace(np.zeros((1, 2, 2), bool))
    for recorded in ([], [True], np.ones((2, 3, 3)), np.ones((2, 3, 4), bool), None, 3):
        with pytest.raises(ValueError, match=r"^recorded has shape .*it must be booleans"):
            drops.trace(recorded)
