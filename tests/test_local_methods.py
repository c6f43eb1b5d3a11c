"""What local methods do beside the laws: optimiser states at an averaging, samples, outer optimisers, fragments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from elastic_jax import base, clocks, compressors, oracles
from elastic_jax.algorithms import (
    asynchronous_elastic_averaging_sgd,
    cocod_sgd,
    federated_averaging_sgd,
    local_sgd,
    outer_optimizer_sgd,
    overlap_local_sgd,
)

TARGETS = np.array([[0.0, 4.0], [8.0, -4.0], [2.0, 6.0]])
ORACLE = oracles.from_loss(lambda x, target: 0.5 * jnp.sum((x - target) ** 2))


def states(algorithm, num_steps, params=None):
    """The states after steps 0, 1, ..., `num_steps`, and what happened in each."""
    key, data = jax.random.key(0), jnp.asarray(TARGETS)
    found, infos = [algorithm.init(key, jnp.zeros(2) if params is None else params)], []
    step = jax.jit(algorithm.step)
    for t in range(num_steps):
        state, info = step(base.step_key(key, t), found[-1], data)
        found.append(state)
        infos.append(info)
    return found, infos


def momenta(state):
    """float[n, d]: the traces of optax.sgd with momentum."""
    (trace,) = [leaf for leaf in jax.tree.leaves(state.opt_states) if leaf.shape == (3, 2)]
    return np.asarray(trace)


@pytest.mark.parametrize("what", ["kept", "averaged", "reset"])
def test_optimisers_at_an_averaging(what):
    """Momentum after two steps of one's own: each its own, the mean of all, or none; parameters are averaged alike."""
    algorithm = local_sgd.build(
        ORACLE, num_workers=3, optimizer=optax.sgd(0.1, momentum=0.5), period=2, opt_states_at_averaging=what
    )
    found, _ = states(algorithm, 2)
    first = -TARGETS
    own = 0.5 * first + (-0.1 * first - TARGETS)
    expected = {"kept": own, "averaged": np.tile(own.mean(0), (3, 1)), "reset": np.zeros((3, 2))}[what]
    np.testing.assert_allclose(momenta(found[2]), expected, atol=1e-12)
    moved = -0.1 * first - 0.1 * own
    np.testing.assert_allclose(found[2].local_params, np.tile(moved.mean(0), (3, 1)), atol=1e-12)


def test_integers_of_an_optimiser_are_not_averaged():
    """Adam's count stays what it is: a mean of integers has no meaning."""
    with jax.numpy_dtype_promotion("standard"):
        algorithm = local_sgd.build(
            ORACLE, num_workers=3, optimizer=optax.adam(0.1), period=2, opt_states_at_averaging="averaged"
        )
        found, _ = states(algorithm, 4)
    counts = [leaf for leaf in jax.tree.leaves(found[4].opt_states) if leaf.dtype == jnp.int32]
    assert [leaf.tolist() for leaf in counts] == [[4, 4, 4]]


def test_averages_are_weighted_and_the_weighted_mean_stays():
    """After step H all have Σ p_i y_i, p proportional to what was given."""
    algorithm = local_sgd.build(ORACLE, num_workers=3, step_size=0.5, period=2, worker_weights=[1, 1, 2])
    found, infos = states(algorithm, 2)
    y = TARGETS * (1 - 0.5**2)
    np.testing.assert_allclose(found[2].local_params, np.tile(np.array([0.25, 0.25, 0.5]) @ y, (3, 1)), atol=1e-12)
    np.testing.assert_allclose(infos[0].weights, [0.25, 0.25, 0.5])


def test_every_worker_has_its_own_period():
    """With periods 1, 2, 2: after step 1 nobody has whom to average with, after step 2 all have the mean."""
    algorithm = local_sgd.build(ORACLE, num_workers=3, step_size=0.5, period=[1, 2, 2])
    found, infos = states(algorithm, 2)
    np.testing.assert_allclose(found[1].local_params, TARGETS / 2, atol=1e-12)
    np.testing.assert_allclose(np.ptp(np.asarray(found[2].local_params), axis=0), 0, atol=1e-12)
    assert (np.asarray(infos[0].bits_sent) > 0).tolist() == [True, False, False]


@pytest.mark.parametrize("what", ["kept", "reset"])
def test_participants_start_from_the_server_and_others_have_nothing(what):
    """In each round c workers act; the server takes their mean; a worker's momentum waits for it, or not."""
    algorithm = federated_averaging_sgd.build(
        ORACLE,
        num_workers=3,
        optimizer=optax.sgd(0.1, momentum=0.5),
        period=2,
        num_sampled=2,
        opt_states_at_joining=what,
    )
    found, infos = states(algorithm, 12)
    rounds = [tuple(np.asarray(info.workers).tolist()) for info in infos]
    assert rounds[::2] == rounds[1::2]
    assert len(set(rounds)) == 3
    assert all(first < second for first, second in rounds)
    server, momentum = np.zeros(2), np.zeros((3, 2))
    for start in range(0, 12, 2):
        chosen = list(rounds[start])
        own = np.tile(server, (2, 1))
        velocity = momentum[chosen] if what == "kept" else np.zeros((2, 2))
        for _ in range(2):
            velocity = 0.5 * velocity + own - TARGETS[chosen]
            own = own - 0.1 * velocity
        momentum[chosen], server = velocity, own.mean(0)
        np.testing.assert_allclose(found[start + 2].local_params, np.tile(server, (2, 1)), atol=1e-12)
        np.testing.assert_allclose(momenta(found[start + 2]), momentum, atol=1e-12)


def test_slow_momentum_is_that_of_slowmo():
    """SlowMo has u = β u + (x_0 - x̄)/γ, x = x_0 - a γ u: outer SGD of step size a with momentum β, γ constant."""
    gamma, a, beta = 0.25, 0.8, 0.6
    algorithm = outer_optimizer_sgd.build(
        ORACLE, num_workers=3, step_size=gamma, period=3, outer_optimizer=optax.sgd(a, momentum=beta)
    )
    found, _ = states(algorithm, 12)
    x, u = np.zeros(2), np.zeros(2)
    for r in range(4):
        mean = (TARGETS + (1 - gamma) ** 3 * (x - TARGETS)).mean(0)
        u = beta * u + (x - mean) / gamma
        x = x - a * gamma * u
        np.testing.assert_allclose(found[3 * r + 3].local_params, np.tile(x, (3, 1)), atol=1e-12)


def test_the_default_is_diloco_and_goes_towards_the_workers():
    """Outer Nesterov momentum 0.9 and step size 0.7 on old minus new; inner states are kept; the sign is right."""
    algorithm = outer_optimizer_sgd.build(ORACLE, num_workers=3, optimizer=optax.sgd(0.1, momentum=0.5), period=2)
    found, _ = states(algorithm, 6)
    x, m, velocity = np.zeros(2), np.zeros(2), np.zeros((3, 2))
    for r in range(3):
        own = np.tile(x, (3, 1))
        for _ in range(2):
            velocity = 0.5 * velocity + own - TARGETS
            own = own - 0.1 * velocity
        delta = x - own.mean(0)
        m = 0.9 * m + delta
        new = x - 0.7 * (delta + 0.9 * m)
        assert r or (new - x) @ (own.mean(0) - x) > 0
        x = new
        np.testing.assert_allclose(found[2 * r + 2].local_params, np.tile(x, (3, 1)), atol=1e-12)


def test_fragments_are_merged_in_turn_and_late():
    """Two leaves, H = 4: the first is sent after step 2 and merged by half after 3, the second after 4 and 5."""
    oracle = oracles.from_loss(lambda x, t: 0.5 * jnp.sum((x["a"] - t[0]) ** 2) + 0.5 * jnp.sum((x["b"] - t[1]) ** 2))
    algorithm = outer_optimizer_sgd.build(
        oracle,
        num_workers=3,
        step_size=0.5,
        period=4,
        outer_optimizer=optax.sgd(1.0),
        num_fragments=2,
        overlap=1,
        merge=0.5,
    )
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    found, infos = states(algorithm, 6, params)
    own = {"a": np.zeros(3), "b": np.zeros(3)}
    outer = {}
    for t in range(6):
        for column, name in enumerate("ab"):
            own[name] = own[name] + 0.5 * (TARGETS[:, column] - own[name])
        sent = {2: "a", 4: "b", 6: "a"}.get(t + 1)
        if sent:
            outer[sent] = own[sent].mean()
        merged = {3: "a", 5: "b"}.get(t + 1)
        if merged:
            own[merged] = 0.5 * own[merged] + 0.5 * outer[merged]
        for name in "ab":
            np.testing.assert_allclose(found[t + 1].local_params[name][:, 0], own[name], atol=1e-12)
        assert (float(infos[t].bits_sent[0]) > 0) == bool(sent)
    with pytest.raises(ValueError, match=r"num_fragments = 2 is out of range; .*\[1, 1\], the leaves"):
        algorithm.init(jax.random.key(0), jnp.zeros(2))


def as_float4(ways):
    """Each row to the nearest of 0 and plus or minus its largest entry times 1, 1/2, ..., 1/64."""
    largest = np.abs(ways).max(axis=1)[:, None, None]
    levels = largest * np.array([0.0, *(2.0**-k for k in range(7))])
    return (
        np.sign(ways)
        * np.take_along_axis(levels, np.abs(np.abs(ways)[..., None] - levels).argmin(-1)[:, None], 2)[:, 0]
    )


def test_what_is_sent_is_compressed_before_the_mean_is_formed():
    """Each worker rounds its own way to four bits; what that loses is in x and its shift; bits are those sent."""
    algorithm = outer_optimizer_sgd.build(
        ORACLE,
        num_workers=3,
        step_size=0.25,
        period=2,
        outer_optimizer=optax.sgd(0.7, momentum=0.9, nesterov=True),
        compressor=compressors.powers_of_two(4),
    )
    found, infos = states(algorithm, 8)
    x, m, lost = np.zeros(2), np.zeros(2), 0.0
    for r in range(4):
        own = TARGETS + 0.75**2 * (x - TARGETS)
        delta = as_float4(x - own).mean(0)
        lost = max(lost, np.abs(delta - (x - own.mean(0))).max())
        m = 0.9 * m + delta
        x = x - 0.7 * (delta + 0.9 * m)
        np.testing.assert_allclose(found[2 * r + 2].local_params, np.tile(x, (3, 1)), atol=1e-12)
        np.testing.assert_allclose(infos[2 * r + 1].shift, x - own.mean(0), atol=1e-12)
        assert [infos[2 * r + step].bits_sent.tolist() for step in (0, 1)] == [[0.0] * 3, [64.0 + 2 * 4] * 3]
    assert lost > 0.05


def test_a_meeting_with_the_anchor_moves_both_alike():
    """Σ x^i + z moves by the updates alone, whoever meets when; z moves only in a worker's steps H, 2H, ..."""
    algorithm = asynchronous_elastic_averaging_sgd.build(
        ORACLE, num_workers=3, step_size=0.25, period=2, elasticity=0.4, clock=clocks.exponential()
    )
    found, infos = states(algorithm, 24)
    counts = np.zeros(3, int)
    for before, after, info in zip(found[:-1], found[1:], infos, strict=True):
        worker = int(info.workers[0])
        counts[worker] += 1
        moved = np.asarray(after.anchor_params - before.anchor_params)
        force = 0.4 * np.asarray(before.local_params[worker] - before.anchor_params)
        np.testing.assert_allclose(moved, force if counts[worker] % 2 == 0 else 0.0, atol=1e-12)
        total = (after.local_params - before.local_params).sum(0) + moved
        np.testing.assert_allclose(total, info.updates[0], atol=1e-12)
    assert counts.min() > 2


def test_the_anchor_of_overlap_is_begun_a_round_before_it_is_used():
    """With H = 1: x^i = (1 - a) y^i + a z, m = β m + z - x̄, z = z - m, by hand; its momentum is a shift of x."""
    a, beta = 0.6, 0.7
    algorithm = overlap_local_sgd.build(ORACLE, num_workers=3, step_size=0.25, pull=a, anchor_decay=beta, period=1)
    found, infos = states(algorithm, 5)
    x, z, m = np.zeros((3, 2)), np.zeros(2), np.zeros(2)
    for t in range(5):
        np.testing.assert_allclose(infos[t].shift, -a * beta * m, atol=1e-12)
        x = (1 - a) * (x - 0.25 * (x - TARGETS)) + a * z
        m = beta * m + z - x.mean(0)
        z = z - m
        np.testing.assert_allclose(found[t + 1].local_params, x, atol=1e-12)
        np.testing.assert_allclose(found[t + 1].anchor_params, z, atol=1e-12)
    assert np.abs(m).max() > 0.1


def test_cocod_adds_a_rounds_way_to_the_average_of_its_beginning():
    """x^i = mean of z + y^i - z^i, so that the mean is that of local SGD and differences are one round's."""
    algorithm = cocod_sgd.build(ORACLE, num_workers=3, step_size=0.25, period=2)
    found, _ = states(algorithm, 6)
    x, z = np.zeros((3, 2)), np.zeros((3, 2))
    for t in range(6):
        x = x - 0.25 * (x - TARGETS)
        if t % 2:
            x = z.mean(0) + x - z
            z = x
        np.testing.assert_allclose(found[t + 1].local_params, x, atol=1e-12)
