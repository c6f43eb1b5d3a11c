"""Push-sum and CHOCO-SGD by hand: what is pushed and when it arrives, what others estimate, and in which order."""

import functools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax
import pytest

from elastic_jax import base, compressors, mixings, oracles, shares, topologies
from elastic_jax.algorithms import choco_sgd, gossip_sgd, push_sum_sgd

NUM_DRAWS = 64
ORACLE = oracles.from_loss(lambda x, target: 0.5 * jnp.sum((x - target) ** 2))
LINEAR = oracles.from_loss(lambda x, slope: jnp.sum(x * slope))
UNEVEN = networkx.DiGraph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (0, 3)])
QUICKLY = {"xla_backend_optimization_level": 0}


def states(algorithm, data, num_steps, start=None, key=None):
    """The states before steps 0, 1, ... and after the last, stacked, and what happened in each; one program."""
    key = jax.random.key(0) if key is None else key
    data = jnp.asarray(data, float)
    start = algorithm.init(key, jnp.zeros(data.shape[1])) if start is None else start

    def advance(state, t):
        new_state, info = algorithm.step(base.step_key(key, t), state, data)
        return new_state, (new_state, info, algorithm.global_params(new_state))

    compiled = jax.jit(lambda state: jax.lax.scan(advance, state, jnp.arange(num_steps))[1], compiler_options=QUICKLY)
    after, infos, params = compiled(start)
    return jax.tree.map(lambda first, rest: np.concatenate([first[None], rest]), start, after), infos, params


ALL = {
    "directed ring": shares.directed_ring(5),
    "one peer": shares.one_peer_exponential(6),
    "everybody": shares.everybody(4),
    "random peers": shares.random_peers(5),
    "uneven": shares.from_networkx(UNEVEN),
    "a matrix": shares.from_matrix([[0.75, 0.5], [0.25, 0.5]]),
    "a star": shares.of_topology(topologies.star(4)),
    "a cycle": shares.cycle([np.eye(3), [[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0.5]]]),
    "one worker": shares.directed_ring(1),
    "one worker, drawn": shares.random_peers(1),
}


@pytest.mark.parametrize("made", ALL.values(), ids=ALL)
def test_what_is_kept_and_what_is_sent_is_all_there_is(made):
    """Columns of P sum to 1; `push` is its diagonal and the rest, for every key and k; messages go to the non-zeros."""
    keys, n = jax.random.split(jax.random.key(3), 6), made.num_workers
    rows = {"a": jax.random.normal(keys[0], (n, 2), jnp.float32), "w": jnp.linspace(1.0, 2.0, n)}

    def one(key, k):
        return made.matrix(key, k), made.push(key, k, rows), made.num_messages(key, k)

    matrices, (kept, sent), counts = jax.jit(jax.vmap(one), compiler_options=QUICKLY)(keys, jnp.arange(6))
    np.testing.assert_allclose(matrices.sum(1), 1, atol=1e-12)
    assert np.all(np.asarray(matrices) >= 0)
    for matrix, own, others in zip(matrices, kept["w"], sent["w"], strict=True):
        np.testing.assert_allclose(own, np.diag(matrix) * rows["w"], atol=1e-12)
        np.testing.assert_allclose(own + others, matrix @ rows["w"], atol=1e-12)
    np.testing.assert_allclose(kept["a"] + sent["a"], np.einsum("kij,jd->kid", matrices, rows["a"]), atol=1e-6)
    assert kept["a"].dtype == sent["a"].dtype == jnp.float32
    others = np.count_nonzero(np.asarray(matrices) * ~np.eye(n, dtype=bool), axis=1)
    is_all_reduce = made.push is shares.everybody(4).push
    np.testing.assert_array_equal(counts, np.minimum(others, 1) if is_all_reduce else others)
    if made.matrices is not None:
        np.testing.assert_array_equal(matrices, made.matrices[np.arange(6) % len(made.matrices)])


def test_random_peers_are_uniform_over_the_others():
    """Each sender draws any other worker equally often, and never itself; some receivers hear from nobody."""
    keys = jax.random.split(jax.random.key(1), 3000)
    drawn = np.asarray(jax.vmap(shares.random_peers(4).matrix, (0, None))(keys, jnp.int32(0)))
    frequencies = (drawn > 0).mean(0)
    np.testing.assert_allclose(frequencies[~np.eye(4, dtype=bool)], 1 / 3, atol=0.04)
    np.testing.assert_array_equal(np.diagonal(drawn, axis1=1, axis2=2), 0.5)
    assert np.any(drawn.sum(2) == 0.5)


def test_a_directed_ring_by_hand():
    """Half of its own y and half of that of the one before, where targets pull halfway: two steps, weights stay 1."""
    algorithm = push_sum_sgd.build(ORACLE, num_workers=3, step_size=0.5, shares=shares.directed_ring)
    found, infos, params = states(algorithm, [[0.0], [6.0], [12.0]], 2)
    np.testing.assert_allclose(found.pushed_params[1:, :, 0], [[3, 1.5, 4.5], [4.875, 2.625, 6.0]])
    np.testing.assert_allclose(found.push_weights, 1)
    np.testing.assert_allclose(params[:, 0], [3, 4.5])
    assert np.all(np.asarray(infos.bits_sent) == 64 + 32)


def test_what_is_pushed_late_by_hand():
    """With a delay of one only what is kept is there after the first step; a numerator is divided by its weight."""
    uneven = shares.from_matrix([[0.75, 0.5], [0.25, 0.5]])
    algorithm = push_sum_sgd.build(ORACLE, num_workers=2, step_size=0.5, shares=uneven, delay=1)
    found, infos, params = states(algorithm, [[8.0], [16.0]], 2)
    np.testing.assert_allclose(found.pushed_params[1:, :, 0], [[3, 4], [7.75, 5]])
    np.testing.assert_allclose(found.push_weights[1:], [[0.75, 0.5], [1.0625, 0.5]])
    np.testing.assert_allclose(found.messages[1:, 0, :, 0], [[4, 1], [4, 1.25]])
    np.testing.assert_allclose(found.message_weights[1:, 0], [[0.5, 0.25], [0.25, 0.1875]])
    np.testing.assert_allclose(infos.views[:, :, 0], [[0, 0], [4, 8]])
    np.testing.assert_allclose(params[:, 0], [6, 9])


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_mass_is_in_the_nodes_or_in_flight(delay):
    """Σ w = n, and numerators with what is in flight move by the updates alone, whoever is drawn; weights stay > 0."""
    algorithm = push_sum_sgd.build(ORACLE, num_workers=4, step_size=0.1, shares=shares.random_peers, delay=delay)
    found, infos, params = states(algorithm, np.random.default_rng(0).normal(size=(4, 3)), 20)
    weights, numerators = found.push_weights.sum(1), found.pushed_params.sum(1)
    if delay:
        weights, numerators = weights + found.message_weights.sum((1, 2)), numerators + found.messages.sum((1, 2))
    np.testing.assert_allclose(weights, 4, atol=1e-12)
    np.testing.assert_allclose(np.diff(numerators, axis=0), infos.updates.sum(1), atol=1e-12)
    np.testing.assert_allclose(numerators[1:] / 4, params, atol=1e-12)
    assert found.push_weights.min() > 0
    assert np.ptp(found.push_weights) > 0.1


def test_symmetric_shares_are_gossip():
    """W of an undirected graph: all weights stay 1, and rows are those of gossip that adapts first."""
    ring = topologies.ring(5)
    targets = np.random.default_rng(1).normal(size=(5, 2))
    pushed = push_sum_sgd.build(ORACLE, num_workers=5, step_size=0.2, shares=shares.of_topology(ring))
    gossip = gossip_sgd.build(ORACLE, num_workers=5, step_size=0.2, mixing=mixings.constant(ring))
    found, expected = (states(algorithm, targets, 8)[0] for algorithm in (pushed, gossip))
    np.testing.assert_allclose(found.push_weights, 1, atol=1e-13)
    np.testing.assert_allclose(found.pushed_params, expected.local_params, atol=1e-13)


def test_uneven_pushes_come_to_the_mean_and_numerators_do_not():
    """Without gradients views agree on the mean of where the workers began; numerators are as uneven as the weights."""
    algorithm = push_sum_sgd.build(LINEAR, num_workers=4, shares=shares.from_networkx(UNEVEN))
    begin = algorithm.init(jax.random.key(0), jnp.zeros(1))._replace(pushed_params=jnp.array([[4.0], [0], [0], [8]]))
    found, infos, _ = states(algorithm, np.zeros((4, 1)), 80, begin)
    np.testing.assert_allclose(infos.views[-1], 3.0, atol=1e-9)
    np.testing.assert_allclose(found.pushed_params[-1, :, 0], 3 * found.push_weights[-1], atol=1e-9)
    assert np.ptp(found.push_weights[-1]) > 0.5


def test_weight_decay_acts_on_views():
    """The optimiser is shown v, not x: u = -α (g + λ v)."""
    optimizer = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.25))
    uneven = shares.from_matrix([[0.75, 0.5], [0.25, 0.5]])
    algorithm = push_sum_sgd.build(ORACLE, num_workers=2, optimizer=optimizer, shares=uneven)
    _, infos, _ = states(algorithm, [[8.0], [16.0]], 3)
    np.testing.assert_allclose(infos.updates, -0.25 * (infos.grads + 0.5 * infos.views), atol=1e-12)


def response(matrix, delay, num_steps):
    """Largest over t, i of (1/w) Σ_m Σ_j |w/n - share of step t - m of j that is at i|, message by message."""
    n = len(matrix)

    def push(mass, in_flight):
        in_flight = [*in_flight, (matrix - np.diag(np.diag(matrix))) @ mass]
        return np.diag(matrix) * mass + in_flight[0], in_flight[1:]

    shares_at, weights = np.zeros((num_steps + 1, n, n)), []
    for j in range(n):
        mass, in_flight = np.eye(n)[j], [np.zeros(n)] * delay
        for m in range(1, num_steps + 1):
            mass, in_flight = push(mass, in_flight)
            shares_at[m, :, j] = mass
    worst = 0.0
    for t in range(1, num_steps + 1):
        weights = shares_at[t].sum(1)
        sums = np.abs(weights[None, :, None] / n - shares_at[1 : t + 1]).sum((0, 2))
        worst = max(worst, float((sums / weights).max()))
    return worst


@pytest.mark.parametrize("delay", [0, 1, 2])
@pytest.mark.parametrize("name", ["directed ring", "uneven", "a matrix", "everybody"])
def test_the_spread_is_the_worst_that_steps_can_add_up_to(name, delay):
    """As every single message says, whatever the weights do on their way to their limit."""
    found, least = shares.spread(ALL[name], delay=delay), response(ALL[name].matrices[0], delay, 900)
    assert least - 1e-9 <= found <= (1 + 2e-6) * least + 1e-9


def test_the_spread_of_symmetric_shares_is_that_of_their_mixing():
    """Of a cycle the worst phase; drawn shares have none."""
    for topology in (topologies.ring(6), topologies.star(5)):
        mixing = mixings.constant(topology)
        expected = mixings.spread(mixing, period=1, num_workers=mixing.num_rows)
        assert shares.spread(shares.of_topology(topology)) == pytest.approx(expected, rel=1e-9)
    assert shares.spread(shares.random_peers(4)) is None
    # two rounds: the sum of the first, then nothing is missing
    assert shares.spread(shares.one_peer_exponential(4)) == pytest.approx(1.0)
    assert shares.spread(shares.everybody(5)) == 0.0
    assert shares.spread(shares.cycle([np.eye(2), np.full((2, 2), 0.5)])) == pytest.approx(1.0)


def test_choco_by_hand():
    """The larger coordinate of each difference is told, and workers go half of the way to the mean of what is told."""
    algorithm = choco_sgd.build(ORACLE, num_workers=2, step_size=0.5, compressor=compressors.top_k(0.5))
    found, infos, params = states(algorithm, [[8.0, 4.0], [0.0, 16.0]], 2)
    # h = (4, 2), (0, 8); told 4 and 8; W is 1/2 everywhere: toward (2, 4) from x̂, by half
    np.testing.assert_allclose(found.estimates[1:], [[[4, 0], [0, 8]], [[4, 4], [0, 11]]])
    np.testing.assert_allclose(found.local_params[1:], [[[3, 4], [1, 6]], [[4.5, 5.75], [1.5, 9.25]]])
    np.testing.assert_allclose(params, [[2, 5], [3, 7.5]])
    assert np.all(np.asarray(infos.bits_sent) == compressors.top_k(0.5).bits(jnp.zeros(2)))


def test_mixing_first_by_hand():
    """With what was told before the step: nothing in the first one, and what it told in the second."""
    algorithm = choco_sgd.build(
        ORACLE, num_workers=2, step_size=0.5, compressor=compressors.top_k(0.5), quantize_first=False
    )
    found, _, params = states(algorithm, [[8.0, 4.0], [0.0, 16.0]], 2)
    # h = (4, 2), (0, 8) and x̂ = 0; then h = (6, 3), (0, 12), drawn by half of (-2, 4), (2, -4)
    np.testing.assert_allclose(found.local_params[1:], [[[4, 2], [0, 8]], [[5, 5], [1, 10]]])
    np.testing.assert_allclose(found.estimates[1:], [[[4, 0], [0, 8]], [[4, 5], [0, 10]]])
    np.testing.assert_allclose(params, [[2, 5], [3, 7.5]])


def test_the_two_orders_are_one_half_a_step_apart():
    """Where gradients do not depend on x: mixing first, x is the h of quantising first, and x̂ what it comes to."""
    slopes = np.random.default_rng(2).normal(size=(4, 5))
    build = functools.partial(choco_sgd.build, LINEAR, num_workers=4, step_size=0.5, compressor=compressors.top_k(0.4))
    first, infos, _ = states(build(), slopes, 9)
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), first)
    start = start._replace(
        local_params=start.local_params + infos.updates[0], estimates=jnp.asarray(first.estimates[1])
    )
    second, _, _ = states(build(quantize_first=False), slopes, 8, start)
    np.testing.assert_allclose(second.local_params, first.local_params[:-1] + infos.updates, atol=1e-12)
    np.testing.assert_allclose(second.estimates, first.estimates[1:], atol=1e-12)


def test_each_neighbour_is_sent_a_message():
    """One for each whose weight is not 0, as the compressor counts it."""
    compressor = compressors.random_k(0.5)
    algorithm = choco_sgd.build(ORACLE, num_workers=5, topology=topologies.star, compressor=compressor)
    _, infos, _ = states(algorithm, np.ones((5, 4)), 1)
    np.testing.assert_array_equal(infos.bits_sent[0], compressor.bits(jnp.zeros(4)) * np.array([4, 1, 1, 1, 1]))


def test_by_default_the_consensus_step_size_is_what_the_compressor_keeps():
    """δ of these parameters; where there is none, it has to be given, and the error says so."""
    targets = np.random.default_rng(3).normal(size=(3, 8))
    build = functools.partial(choco_sgd.build, ORACLE, num_workers=3, compressor=compressors.top_k(0.25))
    found, expected = (states(build(**given), targets, 4)[0] for given in ({}, {"consensus_step_size": 0.25}))
    np.testing.assert_array_equal(found.local_params, expected.local_params)
    biased = choco_sgd.build(ORACLE, num_workers=3, compressor=compressors.qsgd(1))
    with pytest.raises(ValueError, match=r"^consensus_step_size = None .* no contraction .*qsgd.* in \(0, 1\]"):
        biased.init(jax.random.key(0), jnp.zeros(30))
    given = choco_sgd.build(ORACLE, num_workers=3, compressor=compressors.qsgd(1), consensus_step_size=0.1)
    assert given.init(jax.random.key(0), jnp.zeros(30)).estimates.shape == (3, 30)


def test_a_bound_is_declared_only_where_nothing_is_lost():
    """Then it is that of gossip, in either order, whatever γ; a compressor that loses something has none."""
    known, params = base.Constants(grad_second_moment=4.0), jnp.zeros(6)
    for quantize_first in (True, False):
        choco = choco_sgd.build(ORACLE, num_workers=5, step_size=0.5, quantize_first=quantize_first)
        gossip = gossip_sgd.build(ORACLE, num_workers=5, step_size=0.5, combine_first=not quantize_first)
        expected = gossip.consistency_bound(known, params)
        assert choco.consistency_bound(known, params) == pytest.approx(expected, rel=1e-12)
    slow = choco_sgd.build(ORACLE, num_workers=5, step_size=0.5, consensus_step_size=0.1)
    assert slow.consistency_bound(known, params) > 10 * expected
    lossy = choco_sgd.build(ORACLE, num_workers=5, step_size=0.5, compressor=compressors.top_k(0.5))
    assert lossy.consistency_bound(known, params) is None


def test_top_k_with_a_small_step_still_agrees():
    """Without gradients all come to the mean of where they began, though only one number of eight is told at a time."""
    algorithm = choco_sgd.build(LINEAR, num_workers=4, compressor=compressors.top_k(1 / 8))
    begin = jax.random.normal(jax.random.key(5), (4, 8))
    start = algorithm.init(jax.random.key(0), jnp.zeros(8))._replace(local_params=begin)
    found, _, params = states(algorithm, np.zeros((4, 8)), 400, start)
    np.testing.assert_allclose(found.local_params[-1], np.tile(np.mean(begin, 0), (4, 1)), atol=1e-4)
    np.testing.assert_allclose(params, np.tile(np.mean(begin, 0), (400, 1)), atol=1e-12)
