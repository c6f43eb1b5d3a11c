"""Mixings are doubly stochastic, apply the matrix that they declare, and bring rows together as fast as they say."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import mixings, topologies
from elastic_jax.mixings.colouring import edge_colours

ALL = {
    "ring": mixings.constant(topologies.ring(5)),
    "torus": mixings.constant(topologies.torus(3, 4)),
    "star": mixings.constant(topologies.star(4)),
    "average": mixings.average(4),
    "elastic": mixings.elastic(4),
    "elastic, weak": mixings.elastic(3, 0.1),
    "exponential": mixings.exponential(6),
    "one peer": mixings.one_peer_exponential(8),
    "one peer of six": mixings.one_peer_exponential(6),
    "hierarchical": mixings.hierarchical(2, 3, every=3),
    "cycle": mixings.cycle([[[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]], np.eye(3)]),
    "pairs": mixings.pairs(topologies.ring(5)),
    "matchings": mixings.matchings(topologies.complete(6)),
    "matchings of a ring": mixings.matchings(topologies.ring(5)),
    "matcha": mixings.matcha(topologies.ring(6), 0.5),
    "matcha, equal": mixings.matcha(topologies.star(4), 0.5, optimal=False),
    "sampled": mixings.sampled(6, 3),
    "one worker": mixings.average(1),
}
over_all = pytest.mark.parametrize("mixing", ALL.values(), ids=ALL)
NUM_DRAWS = 64


def draws(mixing):
    """float64[NUM_DRAWS, r, r]: matrices of keys of their own, k = 0, 1, ..."""
    keys = jax.random.split(jax.random.key(5), NUM_DRAWS)
    return np.asarray(jax.vmap(mixing.matrix)(keys, jnp.arange(NUM_DRAWS, dtype=jnp.int32)), float)


@over_all
def test_every_matrix_is_doubly_stochastic(mixing):
    """Rows and columns sum to 1, in every draw."""
    matrices = draws(mixing)
    assert matrices.shape[1:] == (mixing.num_rows, mixing.num_rows)
    np.testing.assert_allclose(matrices.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(matrices.sum(2), 1, atol=1e-12)


@over_all
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_mixing_is_the_product_with_its_matrix(mixing, dtype):
    """`mix` is W_k X with the W_k of the same key and k, leaf by leaf; dtypes stay."""
    keys = jax.random.split(jax.random.key(6), 8)
    rows = {
        "a": jax.random.normal(keys[0], (mixing.num_rows, 2, 3), dtype),
        "b": jnp.arange(mixing.num_rows, dtype=dtype),
    }
    mix = jax.jit(mixing.mix)
    for number, key in enumerate(keys):
        k = jnp.int32(number)
        matrix, mixed = np.asarray(mixing.matrix(key, k), float), mix(key, k, rows)
        for name, leaf in rows.items():
            assert mixed[name].dtype == dtype
            expected = np.tensordot(matrix, np.asarray(leaf, float), 1)
            np.testing.assert_allclose(mixed[name], expected, atol=50 * np.finfo(dtype).eps)


@over_all
def test_rows_come_together_as_declared(mixing):
    """E‖W X - X̄‖² <= (1 - p) ‖X - X̄‖² over every block, by all draws there were and the exact mean of their squares."""
    matrices, r = draws(mixing), mixing.num_rows
    if mixing.block > 1:
        products = [
            np.linalg.multi_dot([np.eye(r), *matrices[first : first + mixing.block][::-1]]) for first in range(20)
        ]
        lost = max(np.linalg.norm(product - 1 / r, 2) ** 2 for product in products)
        assert lost == pytest.approx(1 - mixing.contraction, abs=1e-9)
        return
    mean = np.einsum("kij,kil->jl", matrices, matrices) / NUM_DRAWS - 1 / r
    spread = np.einsum("kij,kil->kjl", matrices, matrices).std(0).max() * 6 / np.sqrt(NUM_DRAWS)
    assert np.linalg.eigvalsh(mean)[-1] == pytest.approx(1 - mixing.contraction, abs=r * spread + 1e-9)


@over_all
def test_the_measured_rate_is_the_declared_one(mixing):
    """Exactly where nothing is drawn, else within five standard errors of a share of 4,096 draws and the bias."""
    measured = mixings.measured_contraction(mixing, key=jax.random.key(7))
    is_drawn = bool(np.ptp(draws(mixing)[:: mixing.block], axis=0).max() > 0)
    assert measured == pytest.approx(mixing.contraction, abs=5 / np.sqrt(4096) if is_drawn else 1e-12)


def test_a_mixing_that_is_lazier_than_declared_is_noticed():
    """W of one's own with the p of another one: half of it is done, and the measured p tells."""
    mixing = mixings.sampled(6, 3)
    lazy = mixing._replace(matrix=lambda key, k: (mixing.matrix(key, k) + jnp.eye(6)) / 2)
    measured = mixings.measured_contraction(lazy, key=jax.random.key(7))
    # E[((W + I)/2)²] = (3 E[W] + I)/4 for a projection: three quarters of p are left
    assert measured == pytest.approx(0.75 * mixing.contraction, abs=5 / np.sqrt(4096))
    assert measured < mixing.contraction - 5 / np.sqrt(4096)


def test_a_sample_of_the_workers_has_the_factor_of_theory():
    """Over all subsets: E‖W X - X̄‖² = ((n - c)/(n - 1)) ‖X - X̄‖² for every X, and draws are uniform over them."""
    n, c = 5, 3
    mixing, counts = mixings.sampled(n, c), {}
    rows = np.asarray(jax.random.normal(jax.random.key(1), (n, 4)))
    away = rows - rows.mean(0)
    squares = []
    for chosen in itertools.combinations(range(n), c):
        after = away.copy()
        after[list(chosen)] = away[list(chosen)].mean(0)
        squares.append((after**2).sum())
    assert np.mean(squares) == pytest.approx((n - c) / (n - 1) * (away**2).sum())
    assert mixing.contraction == pytest.approx(1 - (n - c) / (n - 1))
    keys = jax.random.split(jax.random.key(2), 4000)
    for drawn in np.asarray(jax.vmap(lambda key: mixings.draw_sample(key, num_workers=n, num_sampled=c))(keys)):
        counts[tuple(drawn)] = counts.get(tuple(drawn), 0) + 1
    assert len(counts) == 10
    assert max(abs(count - 400) for count in counts.values()) < 5 * np.sqrt(400)


def test_pairs_on_a_graph_come_together_by_its_laplacian():
    """P = λ₂/(2m), and 1/(n - 1) on the complete graph."""
    for topology in (topologies.ring(6), topologies.star(5), topologies.complete(5)):
        expected = topologies.laplacian_lambda_2(topology) / (2 * len(topologies.edges(topology)))
        assert mixings.pairs(topology).contraction == pytest.approx(expected)
    assert mixings.pairs(topologies.complete(5)).contraction == pytest.approx(1 / 4)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_elastic_averaging_has_the_spectrum_of_theory(n):
    """1, 1 - a (n - 1 times) and 1 - (n + 1) a; the best a is 2/(n + 2), with ζ = n/(n + 2)."""
    for a in (0.05, 1.9 / (n + 1)):
        matrix = mixings.elastic(n, a).constant_matrix
        expected = sorted([1.0, *[1 - a] * (n - 1), 1 - (n + 1) * a])
        np.testing.assert_allclose(np.linalg.eigvalsh(matrix), expected, atol=1e-12)
    best = mixings.elastic(n)
    assert best.contraction == pytest.approx(1 - (n / (n + 2)) ** 2)
    others = np.linspace(0.01, 1.99, 60) / (n + 1)
    assert all(mixings.elastic(n, a).contraction <= best.contraction + 1e-12 for a in others)


def test_one_peer_exponential_averages_exactly_after_all_distances():
    """With n = 8, J after three mixings; with n = 6 not."""
    assert mixings.one_peer_exponential(8).contraction == pytest.approx(1)
    assert mixings.one_peer_exponential(8).block == 3
    assert 0 < mixings.one_peer_exponential(6).contraction < 1


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8])
def test_matchings_are_matchings_and_all_edges(n):
    """No worker twice; every edge of every graph in exactly one; a complete graph in n - 1 or n of them."""
    for topology in (topologies.complete(n), topologies.ring(n), topologies.star(n)):
        found = edge_colours(topology.adjacency)
        for matching in found:
            workers = [worker for pair in matching for worker in pair]
            assert len(workers) == len(set(workers))
        assert sorted(itertools.chain(*found)) == [tuple(edge) for edge in topologies.edges(topology).tolist()]
    assert len(edge_colours(topologies.complete(n).adjacency)) == (n - 1 if n % 2 == 0 else n)


def test_matcha_spends_its_budget_where_it_matters():
    """A bridge between two cliques is active most often, with more of λ₂ and of p than equal rates; budgets hold."""
    adjacency = np.kron(np.eye(2, dtype=bool), ~np.eye(4, dtype=bool))
    adjacency[3, 4] = adjacency[4, 3] = True
    topology = topologies.from_adjacency(adjacency)
    best, equal = mixings.matcha(topology, 0.4), mixings.matcha(topology, 0.4, optimal=False)
    assert best.contraction > 1.05 * equal.contraction
    rates, laplacians = best.matrix.keywords["rates"], best.matrix.keywords["laplacians"]
    of_best, of_equal = (
        np.linalg.eigvalsh(np.tensordot(p, laplacians, 1))[1] for p in (rates, np.full(len(rates), 0.4))
    )
    assert of_best > 1.2 * of_equal
    assert rates.sum() <= 0.4 * len(rates) + 1e-6
    with_bridge = int(np.flatnonzero(laplacians[:, 3, 4])[0])
    assert rates[with_bridge] == pytest.approx(rates.max())


def test_messages_are_counted():
    """To how many others each is sent."""
    key, k = jax.random.key(0), jnp.int32(0)
    assert ALL["ring"].num_messages(key, k).tolist() == [2] * 5
    assert ALL["star"].num_messages(key, k).tolist() == [3, 1, 1, 1]
    assert ALL["average"].num_messages(key, k).tolist() == [1] * 4
    assert ALL["elastic"].num_messages(key, k).tolist() == [1, 1, 1, 1, 4]
    assert ALL["one worker"].num_messages(key, k).tolist() == [0]
    for name in ("pairs", "matchings", "matcha", "sampled"):
        mixing = ALL[name]
        for number in range(10):
            key = jax.random.key(number)
            matrix = np.asarray(mixing.matrix(key, k))
            others = ((matrix != 0) & ~np.eye(len(matrix), dtype=bool)).sum(0)
            counted = np.asarray(mixing.num_messages(key, k))
            np.testing.assert_array_equal(counted, np.minimum(others, 1) if name == "sampled" else others)


def test_what_moves_the_mean_is_refused():
    """Row- but not column-stochastic; a wrong number of rows; an elasticity beyond its range, which is told."""
    with pytest.raises(ValueError, match=r"matrices\[1\] has a column, number 0, that sums to 1.5"):
        mixings.cycle([np.eye(2), [[0.5, 0.5], [1.0, 0.0]]])
    with pytest.raises(ValueError, match="same"):
        mixings.cycle([np.eye(2), np.eye(3)])
    with pytest.raises(ValueError, match=r"mixing = one of 5 rows; it must have 4"):
        mixings.check(mixings.elastic(4), num_rows=4)
    with pytest.raises(ValueError, match=r"elasticity = 0.4 is out of range; .*< 0.4"):
        mixings.elastic(4, 0.4)
    with pytest.raises(ValueError, match=r"num_sampled = 7 .*\[1, 6\]"):
        mixings.sampled(6, 7)


@over_all
@pytest.mark.parametrize("period", [1, 3])
def test_the_spread_is_what_the_worst_gradients_reach(mixing, period):
    """With one W, gradients of norm M whose signs all push x and x^i apart reach α c M, counted step by step."""
    if mixing.constant_matrix is None:
        pytest.skip("what is drawn anew has no worst case that is one run")
    claimed = mixings.spread(mixing, period=period, num_workers=mixing.num_rows)
    mean = 1 / mixing.num_rows
    powers = [np.eye(mixing.num_rows) - mean]
    while len(powers) < 400:
        powers.append((mixing.constant_matrix - mean) @ powers[-1])
    reached = 0.0
    for t in range(300 * period, 301 * period):
        # a gradient of step s has been mixed at the ends of steps s, ..., t - 1 that are due
        num_mixings = [sum((u + 1) % period == 0 for u in range(s, t)) for s in range(t)]
        reached = max(reached, np.sum([np.abs(powers[m]).sum(axis=1) for m in num_mixings], axis=0).max())
    assert claimed == pytest.approx(reached, rel=1e-6, abs=1e-9)


def test_what_never_brings_all_together_has_no_spread():
    """Pairs of a graph of one worker more than they reach: p = 0."""
    apart = mixings.cycle([np.kron(np.eye(2), np.full((2, 2), 0.5))])
    assert apart.contraction == pytest.approx(0)
    assert mixings.spread(apart, period=1, num_workers=4) is None
