"""Step sizes among the data, searches for them, and the layers of a network in their order."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from elastic_jax import run
from elastic_jax.algorithms import synchronous_sgd
from elastic_jax.problems import flax_modules, mlp, resnet
from experiments import layers, sweeps


@pytest.fixture(scope="module")
def problem():
    """A small network, whose parameters are a tree."""
    return mlp.build(num_workers=2, batch_size=4, widths=(3,))


def train(problem, data, step_size):
    """A few steps: the parameters."""
    algorithm = synchronous_sgd.build(problem.oracle, num_workers=2, step_size=step_size)
    return run.run(algorithm, problem.init(jax.random.key(1)), data, num_steps=3, key=jax.random.key(2)).params


def test_a_step_size_among_the_data_is_a_step_size(problem):
    """α among the data and a step size of 1 give the run with the step size α, also as one vector."""
    expected = ravel_pytree(train(problem, problem.data, 0.25))[0]
    swept = train(sweeps.sweepable(problem), sweeps.with_step_size(problem, 0.25), 1.0)
    np.testing.assert_allclose(ravel_pytree(swept)[0], expected, rtol=1e-6, atol=1e-7)
    flat = sweeps.as_vector(problem)
    params = train(sweeps.sweepable(flat), sweeps.with_step_size(flat, 0.25), 1.0)
    assert params.ndim == 1
    np.testing.assert_allclose(params, expected, rtol=1e-6, atol=1e-7)
    assert float(flat.objective(params, flat.data)) == pytest.approx(
        float(problem.objective(train(problem, problem.data, 0.25), problem.data)), rel=1e-5
    )
    assert set(flat.evaluate(params)) == set(problem.evaluate(problem.init(jax.random.key(1))))


@pytest.mark.parametrize("start", [0.25, 1.0, 8.0, 64.0])
def test_a_search_ends_with_greater_costs_on_either_side(start):
    found = sweeps.search(lambda size: (math.log2(size) - 3) ** 2, start)
    assert min(found, key=found.__getitem__) == 8
    assert {4.0, 8.0, 16.0} <= set(found)
    assert list(found) == sorted(found)


def test_a_search_goes_down_from_what_diverges():
    found = sweeps.search(lambda size: math.nan if size >= 4 else -size, 4.0)
    assert min(found, key=found.__getitem__) == 2
    assert found[4.0] == math.inf


def test_layers_stand_in_the_order_of_their_use_with_their_operations():
    """Not in that of their names; a product counts 2 for each entry of its matrix, what follows it one an entry."""

    def forward(params, inputs):
        hidden = jnp.maximum(inputs @ params["z_first"], 0.0) * params["scale"].reshape(1, 4)
        return hidden @ params["a_last"]

    params = {"a_last": jnp.zeros((4, 2)), "scale": jnp.zeros(4), "z_first": jnp.zeros((3, 4))}
    costs = layers.measure(forward, params, jnp.zeros((1, 3)))
    assert costs.order == (2, 1, 0)
    assert costs.elements.tolist() == [12, 4, 8]
    assert costs.operations.tolist() == [2 * 12 + 4, 4, 2 * 8]


def test_a_convolution_counts_its_kernel_for_every_entry_of_its_result():
    def forward(params, images):
        return jax.lax.conv_general_dilated(images, params, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    costs = layers.measure(forward, jnp.zeros((3, 3, 2, 5)), jnp.zeros((1, 8, 8, 2)))
    assert costs.operations.tolist() == [2 * (4 * 4 * 5) * (3 * 3 * 2)]


def test_a_leaf_that_nobody_uses_is_noticed():
    with pytest.raises(AssertionError, match="not used"):
        layers.measure(lambda params, inputs: params[0] * inputs, (jnp.zeros(1), jnp.zeros(1)), jnp.zeros(1))


def test_a_network_in_the_order_of_its_layers_is_the_same_network():
    """The first layer first and the last one last, and loss and gradients are those of the tree."""
    tree = resnet.build(num_workers=2, batch_size=1, depth=8, width=2, strategy="map")
    params = tree.init(jax.random.key(0))
    module = resnet.ResNet(8, 10, "group", 2)
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    costs = layers.measure(lambda p, x: flax_modules.apply(module, {"params": p}, x), params, image)
    ordered = layers.in_order(tree, costs.order)
    sequence = ordered.init(jax.random.key(0))
    assert sequence[0].shape == params["Conv_0"]["kernel"].shape
    assert {leaf.shape for leaf in sequence[-2:]} == {leaf.shape for leaf in params["Dense_0"].values()}
    assert [leaf.size for leaf in sequence] == costs.elements.tolist()

    views = jax.tree.map(lambda leaf: leaf[None], params)
    in_sequence = tuple(leaf[None] for leaf in sequence)
    keys, workers = jax.random.split(jax.random.key(3), 1), jnp.zeros(1, jnp.int32)
    losses, grads = jax.jit(tree.oracle)(keys, views, tree.data, workers)
    same_losses, same = jax.jit(ordered.oracle)(keys, in_sequence, tree.data, workers)
    np.testing.assert_allclose(losses, same_losses, rtol=1e-6)
    leaves = jax.tree.leaves(grads)
    for layer, leaf in enumerate(costs.order):
        np.testing.assert_allclose(same[layer], leaves[leaf], rtol=1e-4, atol=1e-6)
