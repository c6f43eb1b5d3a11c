"""Topologies mix symmetrically and to the mean, along edges only, with the spectra that theory knows."""

from functools import partial

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_jax import topologies

ALL = {
    "complete": (topologies.complete(6), networkx.complete_graph(6)),
    "ring": (topologies.ring(7), networkx.cycle_graph(7)),
    "ring of two": (topologies.ring(2), networkx.path_graph(2)),
    "ring of one": (topologies.ring(1), networkx.empty_graph(1)),
    "torus": (topologies.torus(3, 4), networkx.grid_2d_graph(3, 4, periodic=True)),
    "thin torus": (topologies.torus(2, 3), networkx.circular_ladder_graph(3)),
    "hypercube": (topologies.hypercube(8), networkx.hypercube_graph(3)),
    "star": (topologies.star(5), networkx.star_graph(4)),
    "exponential": (topologies.exponential(7), networkx.complete_graph(7)),
}
over_all = pytest.mark.parametrize("name", ALL)
EXACT = ("metropolis", "max_degree", "best_constant")
by_weights = pytest.mark.parametrize("weights", EXACT)


def random_graphs():
    """Connected: a tree and some more edges."""
    return st.builds(
        lambda n, seed: networkx.compose(
            networkx.random_labeled_tree(n, seed=seed), networkx.gnp_random_graph(n, 0.3, seed=seed)
        ),
        st.integers(2, 9),
        st.integers(0, 10**6),
    )


@over_all
def test_graphs_are_those_of_networkx(name):
    """Same graph up to the numbering of workers, same λ₂; by `from_networkx`, same numbering."""
    topology, graph = ALL[name]
    assert networkx.is_isomorphic(networkx.from_numpy_array(topology.adjacency.astype(int)), graph)
    if len(graph) > 1:
        assert topologies.laplacian_lambda_2(topology) == pytest.approx(
            networkx.laplacian_spectrum(graph)[1], abs=1e-12
        )
    same = topologies.from_networkx(graph)
    np.testing.assert_array_equal(same.adjacency, networkx.to_numpy_array(graph) > 0)
    assert topologies.edges(same).shape == (graph.number_of_edges(), 2)


@settings(deadline=None, max_examples=30)
@given(random_graphs(), st.sampled_from(("metropolis", "max_degree")))
def test_mixing_matrices(graph, weights):
    """W is symmetric, doubly stochastic, positive on edges and diagonal, else zero; ζ = 1 - gap < 1."""
    topology = topologies.from_networkx(graph, weights=weights)
    matrix, n = topology.mixing_matrix, len(graph)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-15 * n)
    np.testing.assert_array_equal(matrix > 0, topology.adjacency | np.eye(n, dtype=bool))
    assert topologies.zeta(topology) == pytest.approx(1 - topologies.spectral_gap(topology), abs=1e-12)
    assert 0 <= topologies.zeta(topology) < 1
    degrees = topologies.degrees(topology)
    for i, j in topologies.edges(topology):
        largest = max(degrees[i], degrees[j]) if weights == "metropolis" else max(degrees)
        assert matrix[i, j] == 1 / (1 + largest)


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_the_ring_has_the_spectrum_of_theory(n):
    """Laplacian λ₂ = 2 - 2 cos(2π/n); W has 1/3 + (2/3) cos(2πk/n), the most negative included."""
    topology, angles = topologies.ring(n), 2 * np.pi * np.arange(n) / n
    assert topologies.laplacian_lambda_2(topology) == pytest.approx(2 - 2 * np.cos(2 * np.pi / n))
    eigenvalues = 1 / 3 + 2 / 3 * np.cos(angles)
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(topology.mixing_matrix)), np.sort(eigenvalues), atol=1e-14)
    assert topologies.spectral_gap(topology) == pytest.approx(1 - np.abs(eigenvalues[1:]).max())


def test_better_weights_mix_faster():
    """ζ falls from Metropolis to the best constant to the fastest; that is 1/2 on a torus and 5/7 on a star of six."""
    for make in (partial(topologies.ring, 8), partial(topologies.star, 6), partial(topologies.torus, 3, 4)):
        zetas = [topologies.zeta(make(weights=weights)) for weights in ("metropolis", "best_constant", "fastest")]
        assert zetas[0] > zetas[1] > zetas[2] - 1e-6
    assert topologies.zeta(topologies.torus(3, 4, weights="fastest")) == pytest.approx(1 / 2, abs=1e-6)
    assert topologies.zeta(topologies.star(6, weights="fastest")) == pytest.approx(5 / 7, abs=1e-6)
    eigenvalues = np.linalg.eigvalsh(np.diag([2.0] * 8) - topologies.ring(8).adjacency)
    best = (eigenvalues[-1] - eigenvalues[1]) / (eigenvalues[-1] + eigenvalues[1])
    assert topologies.zeta(topologies.ring(8, weights="best_constant")) == pytest.approx(best)


def test_exponential_graphs_have_short_ways():
    """Circulant with 2⌈log₂ n⌉ - 1 or so neighbours, and a gap well above that of the ring."""
    topology = topologies.exponential(16)
    assert topologies.neighbours(topology)[0] == [1, 2, 4, 8, 12, 14, 15]
    assert topologies.spectral_gap(topology) > 5 * topologies.spectral_gap(topologies.ring(16))
    assert topologies.is_bipartite(topologies.ring(6))
    assert not topologies.is_bipartite(topology)
    assert topologies.mixing_rate(topology) == pytest.approx(1 - topologies.zeta(topology) ** 2)


def test_random_graphs_are_connected_and_repeat():
    """Erdős–Rényi: the same seed, the same graph; about rate · n (n - 1)/2 edges; too few edges are refused."""
    one, same, other = (topologies.erdos_renyi(20, 0.4, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.adjacency, same.adjacency)
    assert not np.array_equal(one.adjacency, other.adjacency)
    assert 0.4 * 190 - 40 < len(topologies.edges(one)) < 0.4 * 190 + 40
    with pytest.raises(ValueError, match=r"rate = 0.01 is too small: none of 100 graphs"):
        topologies.erdos_renyi(20, 0.01)


def test_a_matrix_of_ones_own_becomes_a_topology():
    """Edges are where it is not zero; entries may be negative as long as it mixes."""
    topology = topologies.from_matrix([[0.6, 0.5, -0.1], [0.5, 0.0, 0.5], [-0.1, 0.5, 0.6]])
    assert topologies.edges(topology).tolist() == [[0, 1], [0, 2], [1, 2]]
    with pytest.raises(ValueError, match=r"^matrix = float64\[3\]; it must be \[n, n\]"):
        topologies.from_matrix(np.ones(3))


@by_weights
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_complete_graph_averages_at_once(n, weights):
    """W = J: ζ = 0, gap 1, Laplacian λ₂ = n."""
    topology = topologies.complete(n, weights=weights)
    np.testing.assert_allclose(topology.mixing_matrix, np.full((n, n), 1 / n), atol=1e-15)
    assert topologies.zeta(topology) == pytest.approx(0, abs=1e-14)
    assert topologies.spectral_gap(topology) == pytest.approx(1)
    assert topologies.laplacian_lambda_2(topology) == (pytest.approx(n) if n > 1 else np.inf)


def test_the_most_negative_eigenvalue_counts():
    """W = 0.1 I + 0.9 · swap has λ₂ = -0.8 and a gap of 0.2, not 1.8; bipartite without diagonal, ζ = 1."""
    swap = np.eye(2)[::-1]
    adjacency = swap.astype(bool)
    topology = topologies.check(topologies.Topology("swap", 0.1 * np.eye(2) + 0.9 * swap, adjacency))
    assert topologies.spectral_gap(topology) == pytest.approx(0.2)
    assert topologies.zeta(topologies.Topology("bipartite", swap, adjacency)) == pytest.approx(1)


def test_hypercubes_and_stars_have_the_spectra_of_theory():
    """Hypercube of dimension m: Laplacian λ₂ = 2, gap 2/(m + 1). Star: λ₂ = 1, Metropolis gap 1/n."""
    assert topologies.laplacian_lambda_2(topologies.hypercube(16)) == pytest.approx(2)
    assert topologies.spectral_gap(topologies.hypercube(16)) == pytest.approx(2 / 5)
    assert topologies.laplacian_lambda_2(topologies.star(6)) == pytest.approx(1)
    assert topologies.spectral_gap(topologies.star(6)) == pytest.approx(1 / 6)


def test_neighbours_degrees_and_edges_agree():
    """Counted by hand for a star of four."""
    topology = topologies.star(4)
    assert topologies.neighbours(topology) == [[1, 2, 3], [0], [0], [0]]
    assert topologies.degrees(topology).tolist() == [3, 1, 1, 1]
    assert topologies.edges(topology).tolist() == [[0, 1], [0, 2], [0, 3]]
    assert topologies.num_workers(topology) == 4


@over_all
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_mixing_is_the_matrix_product(name, dtype, key):
    """W X leaf by leaf, by rolls or by product; dtypes and the mean over workers stay."""
    topology = ALL[name][0]
    n = topologies.num_workers(topology)
    rows = {"a": jax.random.normal(key, (n, 2, 3), dtype), "b": jax.random.normal(key, (n,), dtype)}
    mixed = topologies.mix(topology, rows)
    tolerance = 4 * np.finfo(dtype).eps
    for name_of_leaf, leaf in rows.items():
        expected = np.tensordot(topology.mixing_matrix, np.asarray(leaf, np.float64), 1)
        assert mixed[name_of_leaf].dtype == dtype
        np.testing.assert_allclose(mixed[name_of_leaf], expected, atol=4 * tolerance)
        np.testing.assert_allclose(np.mean(mixed[name_of_leaf], 0), np.mean(leaf, 0), atol=4 * tolerance)


def test_rings_and_tori_are_mixed_by_rolls_and_others_by_a_product():
    """Rolls move rows between neighbours only; those of an asymmetric circulant go the right way."""

    def primitives(topology):
        rows = jnp.zeros((topologies.num_workers(topology), 3))
        return {
            equation.primitive.name for equation in jax.make_jaxpr(lambda x: topologies.mix(topology, x))(rows).eqns
        }

    assert "dot_general" not in primitives(topologies.ring(6))
    assert "dot_general" not in primitives(topologies.torus(3, 4))
    assert "dot_general" not in primitives(topologies.exponential(256))
    assert "dot_general" in primitives(topologies.star(6))
    assert "dot_general" in primitives(topologies.complete(6))

    first = np.array([0.5, 0.3, 0.0, 0.2])
    directed = topologies.Topology("directed", np.stack([np.roll(first, i) for i in range(4)]), np.ones((4, 4), bool))
    rows = jnp.arange(8.0).reshape(4, 2)
    assert "dot_general" not in primitives(directed)
    np.testing.assert_allclose(topologies.mix(directed, rows), directed.mixing_matrix @ np.asarray(rows))


@over_all
def test_one_mixing_shrinks_the_distance_to_the_mean_by_zeta(name, key):
    """‖W X - X̄‖ <= ζ ‖X - X̄‖, attained by the eigenvector."""
    topology = ALL[name][0]
    n = topologies.num_workers(topology)
    rows = np.asarray(jax.random.normal(key, (n, 5)))
    away = rows - rows.mean(0)
    after = np.asarray(topologies.mix(topology, jnp.asarray(away)))
    assert np.linalg.norm(after) <= topologies.zeta(topology) * np.linalg.norm(away) + 1e-12
    values, vectors = np.linalg.eigh(topology.mixing_matrix - 1 / n)
    slowest = vectors[:, np.argmax(np.abs(values))]
    slow = np.linalg.norm(np.asarray(topologies.mix(topology, jnp.asarray(slowest))) - slowest.mean())
    assert slow == pytest.approx(topologies.zeta(topology), abs=1e-9)


SQUARE = topologies.ring(4).adjacency
LINE = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)


@pytest.mark.parametrize(
    ("matrix", "adjacency", "said"),
    [
        (np.eye(3), np.zeros((3, 3), bool), "3 parts"),
        ([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.4]], LINE, "row 2 sums to 0.9"),
        ([[0.6, 0.4, 0], [0.3, 0.3, 0.4], [0.1, 0.3, 0.6]], LINE, "not symmetric"),
        (
            [[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.2, 0.3, 0.5]],
            LINE,
            "workers 0 and 2, which are not neighbours",
        ),
        ([[1.5, -0.5, 0], [-0.5, 1, 0.5], [0, 0.5, 0.5]], LINE, "an eigenvalue other than that of the mean"),
        ([[0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0]], SQUARE, "= 1; .*is bipartite"),
        (np.full((3, 3), np.nan), LINE, "an entry nan"),
        (np.eye(2), LINE, r"shape \(2, 2\)"),
    ],
)
def test_what_is_no_mixing_matrix_is_an_error_that_says_why(matrix, adjacency, said):
    """Each condition has its own message."""
    with pytest.raises(ValueError, match=f"^topology = mine .*{said}"):
        topologies.check(topologies.Topology("mine", np.asarray(matrix, float), adjacency))


def test_the_number_of_workers_must_fit():
    """And what is no topology is told how to become one."""
    with pytest.raises(ValueError, match=r"8 workers; it must have num_workers = 6"):
        topologies.check(topologies.ring(8), num_workers=6)
    with pytest.raises(TypeError, match=r"topologies\.ring\(8\)"):
        topologies.check("ring")
    with pytest.raises(ValueError, match=r"^adjacency"):
        topologies.from_adjacency(np.eye(3, dtype=bool))
    with pytest.raises(ValueError, match=r"^adjacency = int64\[2, 2\]; it must be bool"):
        topologies.from_adjacency([[0, 1], [1, 0]])
