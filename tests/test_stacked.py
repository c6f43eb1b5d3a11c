"""Stacked arithmetic: what numpy computes, leaf by leaf; dtypes stay, and rows out of range are NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from elastic_jax import stacked

N = 4


def rows(key=None, dtype=jnp.float64):
    key = jax.random.key(0) if key is None else key
    return {"a": jax.random.normal(key, (N, 2, 3), dtype), "b": jax.random.normal(key, (N,), jnp.float32)}


def one(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def assert_equal(actual, desired, **tolerance):
    if tolerance:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, desired)
    else:
        jax.tree.map(np.testing.assert_array_equal, actual, desired)
    assert jax.tree.map(jnp.result_type, actual) == jax.tree.map(jnp.result_type, desired)


def test_sums_differences_and_multiples():
    """Leaf by leaf; a sum has the dtype of its first operand, a multiple that of the tree."""
    first, second = one(rows(), 0), one(rows(), 1)
    assert_equal(stacked.subtract(stacked.add(first, second), second), first, rtol=1e-6)
    assert_equal(stacked.scale(3.0, first), jax.tree.map(lambda leaf: leaf + leaf + leaf, first), rtol=1e-6)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), first)
    assert {leaf.dtype for leaf in jax.tree.leaves(stacked.add(low, second))} == {jnp.dtype(jnp.bfloat16)}


def test_broadcast_then_mean_is_the_identity():
    """One to many and back; every row is the same."""
    params = one(rows(), 2)
    many = stacked.broadcast(params, N)
    assert stacked.num_rows(many) == N
    assert_equal(one(many, 3), params)
    assert_equal(stacked.worker_mean(many), params, rtol=1e-6)


def test_weighted_sum_is_numpys(key):
    """Σ_k weights[k] rows[k], at full precision; the mean has weights 1/n."""
    weights, tree = jax.random.uniform(key, (N,)), rows()
    expected = jax.tree.map(lambda leaf: np.tensordot(weights.astype(leaf.dtype), leaf, 1).astype(leaf.dtype), tree)
    got = stacked.weighted_sum(weights, tree)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)
    np.testing.assert_allclose(got["a"], expected["a"], rtol=1e-14)
    np.testing.assert_allclose(stacked.worker_mean(tree)["a"], np.asarray(tree["a"]).mean(axis=0), rtol=1e-13)


def test_many_weighted_sums_at_once(key):
    """Weights [m, k] make m sums; each row is the sum with those weights."""
    weights, tree = jax.random.uniform(key, (3, N)), rows()
    got = stacked.weighted_sum(weights, tree)
    for row in range(3):
        expected = stacked.weighted_sum(weights[row], tree)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one(got, row), expected)


def test_sums_over_slots_are_numpys(key):
    """Σ_s weights[s, k] rows[s, k], for each worker its own; a column is one worker's part of every slot."""
    weights, leaf = np.asarray(jax.random.uniform(key, (3, N))), np.asarray(jax.random.normal(key, (3, N, 2)))
    np.testing.assert_allclose(
        stacked.weighted_sums(weights, jnp.asarray(leaf)), np.einsum("sk,skd->kd", weights, leaf), rtol=1e-13
    )
    np.testing.assert_array_equal(stacked.take_column(leaf, 2), leaf[:, 2])


def test_sums_over_workers_are_products_of_full_precision():
    """A product, which XLA runs at memory speed, with the precision written into the program."""
    program = str(jax.make_jaxpr(stacked.worker_mean)(rows()))
    assert "dot_general" in program
    assert "HIGHEST" in program
    assert "reduce_sum" not in program


@pytest.mark.parametrize("take", [stacked.take_rows, jax.jit(stacked.take_rows)])
def test_rows_taken_are_those_asked_for(take):
    """In the order asked for, repeated if asked twice."""
    tree = rows()
    taken = take(tree, jnp.array([2, 0, 2], jnp.int32))
    assert_equal(taken, jax.tree.map(lambda leaf: leaf[np.array([2, 0, 2])], tree))
    assert_equal(stacked.take_row(tree, jnp.int32(1)), one(tree, 1))


@pytest.mark.parametrize("index", [-1, -N, N, N + 7])
def test_a_row_out_of_range_is_nan(index):
    """Never clamped to the last row, never counted from the end; 0 where there is no NaN."""
    tree = {**rows(), "steps": jnp.arange(N, dtype=jnp.int32) + 5}
    taken = jax.jit(stacked.take_rows)(tree, jnp.array([index, 1], jnp.int32))
    assert np.isnan(taken["a"][0]).all()
    assert np.isnan(taken["b"][0])
    assert taken["steps"].tolist() == [0, 6]
    assert not np.isnan(taken["a"][1]).any()


@pytest.mark.parametrize("indices", [[3], [2, 0], [0, 1, 2, 3], [3, 2, 1, 0]])
def test_rows_put_are_the_rows_taken(indices):
    """Put then take gives the new rows, and every other row is untouched."""
    tree, new = rows(), one(rows(jax.random.key(1)), np.arange(len(indices)))
    put = jax.jit(stacked.put_rows)(tree, jnp.array(indices, jnp.int32), new)
    expected = jax.tree.map(np.array, tree)
    for position, index in enumerate(indices):
        for name in expected:
            expected[name][index] = new[name][position]
    assert_equal(put, expected)


def test_distances_and_products_are_numpys():
    """‖·‖², ⟨·, ·⟩ and ‖row - params‖² over all leaves, which may differ in dtype."""
    tree, params = rows(), one(rows(), 1)
    flat = np.concatenate([np.asarray(leaf, float).reshape(N, -1) for leaf in jax.tree.leaves(tree)], axis=1)
    np.testing.assert_allclose(stacked.norms_sq(tree), np.sum(flat**2, axis=1), rtol=1e-6)
    np.testing.assert_allclose(stacked.norm_sq(params), np.sum(flat[1] ** 2), rtol=1e-6)
    np.testing.assert_allclose(stacked.vdot(one(tree, 0), params), flat[0] @ flat[1], rtol=1e-6)
    np.testing.assert_allclose(
        stacked.distances_sq(tree, params), np.sum((flat - flat[1]) ** 2, axis=1), rtol=1e-6, atol=1e-12
    )


def test_worker_keys_depend_on_the_worker_alone(key):
    """The key of worker 2 is the same whoever else is active; no two workers share one."""
    everybody = stacked.worker_keys(key, jnp.arange(8, dtype=jnp.int32))
    some = stacked.worker_keys(key, jnp.array([2, 7], jnp.int32))
    np.testing.assert_array_equal(jax.random.key_data(some), jax.random.key_data(everybody)[np.array([2, 7])])
    assert len(np.unique(jax.random.key_data(everybody), axis=0)) == 8


def test_optimizers_are_one_for_each_worker(key):
    """N stacked optimisers do what n optimisers do."""
    optimizer, tree = optax.sgd(0.1, momentum=0.9), rows()
    states = stacked.init_optimizers(optimizer, tree)
    alone = [optimizer.init(one(tree, i)) for i in range(N)]
    for seed in range(2):
        grads = rows(jax.random.key(seed))
        updates, states = stacked.update_optimizers(optimizer, grads, states, tree)
        for i in range(N):
            expected, alone[i] = optimizer.update(one(grads, i), alone[i], one(tree, i))
            assert_equal(one(updates, i), expected, rtol=1e-6)


def test_mapping_in_turn_is_mapping_at_once():
    """The results are those of vmap."""
    in_turn, at_once = (
        stacked.map_rows(lambda a, b: a["b"] * b, rows(), jnp.arange(4, dtype=jnp.float32), in_turn=turn)
        for turn in (True, False)
    )
    np.testing.assert_array_equal(in_turn, at_once)


def test_elements_and_bytes_are_counted():
    """D of one set of parameters; bytes of any state, keys by their data."""
    assert stacked.num_elements(one(rows(), 0)) == 7
    assert stacked.num_bytes(rows()) == N * (6 * 8 + 4)
    assert stacked.num_bytes({"key": jax.random.key(0), "count": jnp.int32(1)}) == 8 + 4
    assert stacked.num_bytes(jax.eval_shape(rows)) == N * (6 * 8 + 4)
    assert stacked.num_bytes(()) == 0
