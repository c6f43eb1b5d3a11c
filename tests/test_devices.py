"""The same step on one device and on many."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trajectories
from jax.sharding import AxisType, Mesh, PartitionSpec

from elastic_jax import algorithms, base, devices, mixings, oracles, topologies
from elastic_jax.algorithms import gossip_sgd
from elastic_jax.base import Stacked, StackedSlots

FIRST_OF_FAMILIES = [next(iter(members)) for members in algorithms.families().values() if members]
OTHERS = [name for name in trajectories.VARIANTS if name not in FIRST_OF_FAMILIES]
WAITING = [
    name
    for name, module in algorithms.variants().items()
    if "num_awaited" in inspect.signature(module.build).parameters
]


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return devices.make_mesh(4)


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        *((variant, "float64") for variant in trajectories.VARIANTS),
        *((first, "float32") for first in FIRST_OF_FAMILIES),
        *(pytest.param(other, "float32", marks=pytest.mark.slow) for other in OTHERS),
    ],
)
def test_a_mesh_gives_the_trajectory_of_one_device_by_one_compilation(variant, dtype, mesh):
    """Law 8: state, data and oracle sharded over 4 devices, or all on one."""
    sharded = trajectories.run(variant, dtype, mesh=mesh, oracle_mesh=mesh)
    trajectories.assert_same(sharded, trajectories.reference(variant, dtype), dtype)
    assert sharded.num_compilations == 1


@pytest.mark.parametrize("variant", WAITING)
def test_a_mesh_gives_the_same_where_some_of_the_workers_are_awaited(variant, mesh):
    """Law 8 with more than one gradient in a step, and less than n."""
    parts = {"num_awaited": 3}
    sharded = trajectories.run(variant, "float64", mesh=mesh, oracle_mesh=mesh, parts=parts)
    alone = trajectories.run(variant, "float64", strategy="vmap", parts=parts)
    trajectories.assert_same(sharded, alone, "float64")


@pytest.mark.parametrize("variant", trajectories.VARIANTS)
def test_pmap_of_the_oracle_gives_the_trajectory_of_one_device(variant, mesh):
    """Law 8 with the oracle under `jax.pmap`, in a step that is sharded over the same devices."""
    mapped = trajectories.run(variant, "float64", mesh=mesh, strategy="pmap")
    trajectories.assert_same(mapped, trajectories.reference(variant, "float64"), "float64")


@pytest.mark.parametrize("variant", FIRST_OF_FAMILIES)
def test_keys_of_jax_give_the_same_draws_on_a_mesh(variant, mesh):
    """Threefry keys, too, are functions of (key, worker) alone, wherever they are used."""
    assert jax.config.jax_threefry_partitionable
    sharded = trajectories.run(variant, "float64", mesh=mesh, oracle_mesh=mesh, implementation="threefry2x32")
    alone = trajectories.run(variant, "float64", implementation="threefry2x32", strategy="vmap")
    trajectories.assert_same(sharded, alone, "float64")


@pytest.mark.parametrize("variant", trajectories.VARIANTS)
def test_all_active_workers_are_named_in_order(variant, key):
    """Where as many workers are active as there are, the oracle relies on 0, 1, ..., n - 1."""
    oracle = oracles.from_loss(lambda x, row: jnp.sum((x - row) ** 2))
    algorithm = algorithms.variant(variant).build(oracle, num_workers=2)
    state, data = algorithm.init(key, jnp.zeros(1)), jnp.array([[1.0], [3.0]])
    step = jax.jit(algorithm.step, compiler_options=trajectories.QUICK_COMPILER)
    for number in range(4):
        state, info = step(base.step_key(key, number), state, data)
        assert info.workers.shape[0] < 2 or info.workers.tolist() == [0, 1]


class Inner(NamedTuple):
    rows: Stacked[jax.Array] | None
    count: jax.Array


class State(NamedTuple):
    slots: StackedSlots[jax.Array]
    rows: Stacked[dict]
    count: jax.Array
    inner: Inner
    opt_state: optax.OptState
    key: jax.Array


def _state(num_rows: int = 8) -> State:
    rows = jnp.arange(num_rows * 3.0).reshape(num_rows, 3)
    inner = Inner(rows[:, 0], jnp.int32(3))
    return State(
        jnp.stack([rows, -rows]), {"a": rows}, jnp.int32(5), inner, optax.adam(0.1).init(rows), jax.random.key(3)
    )


def test_only_the_stacked_fields_are_split(mesh):
    """`place` keeps values and types; it splits what is annotated, in named tuples at any depth."""
    state = _state()
    placed = devices.place(state, mesh)
    own, everywhere = PartitionSpec("workers"), PartitionSpec()
    specs = jax.tree.map(lambda leaf: leaf.sharding.spec, placed)
    assert specs.slots == PartitionSpec(None, "workers")
    assert specs.rows == {"a": own}
    assert specs.inner == Inner(own, everywhere)
    assert specs.count == specs.key == everywhere
    assert set(jax.tree.leaves(specs.opt_state)) == {everywhere}
    same = jax.tree.map(np.array_equal, devices.gather(placed), devices.gather(state))
    assert all(jax.tree.leaves(same))
    assert placed.key.dtype == state.key.dtype
    assert [len(shard.data) for shard in placed.rows["a"].addressable_shards] == [2, 2, 2, 2]


@pytest.mark.parametrize("variant", trajectories.VARIANTS)
def test_every_field_with_a_row_for_each_worker_is_split(variant, key):
    """A leaf whose size grows with n has its worker axis annotated, or it would be copied."""
    oracle, mesh = oracles.from_loss(trajectories.loss, batch_size=2), devices.make_mesh(2)
    build = algorithms.variant(variant).build
    few, many = (
        jax.eval_shape(build(oracle, num_workers=n).init, key, trajectories.make_params("float32")) for n in (8, 16)
    )
    placed = devices.shardings(few, mesh)
    for small, large, sharding in zip(*map(jax.tree.leaves, (few, many, placed)), strict=True):
        growing = [axis for axis, size in enumerate(small.shape) if size != large.shape[axis]]
        expected = PartitionSpec(*[None] * growing[0], "workers") if growing else PartitionSpec()
        assert sharding.spec == expected, (small.shape, large.shape)


EXCHANGES = {
    "ring": mixings.around_ring(8),
    "torus": mixings.constant(topologies.torus(4, 4)),
    "one peer": mixings.one_peer_exponential(8),
}


def collectives(compiled):
    """The kinds of communication between devices in a compiled program."""
    return set(
        re.findall(r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(", compiled)
    )


@pytest.mark.parametrize("name", EXCHANGES)
def test_neighbours_exchange_rows_and_nobody_gathers_all(name, mesh, key):
    """Over four devices edges are sent by permutation; a star has no such way, and must be seen to gather."""
    found = {}
    for label, mixing in {name: EXCHANGES[name], "star": mixings.constant(topologies.star(8))}.items():
        n = mixing.num_rows
        oracle = oracles.from_loss(lambda x, row: jnp.sum((x - row) ** 2))
        algorithm = gossip_sgd.build(oracle, num_workers=n, mixing=mixing)
        state = devices.place(algorithm.init(key, jnp.zeros(12)), mesh)
        data = devices.place_data(jnp.ones((n, 12)), mesh)
        step = jax.jit(algorithm.step, out_shardings=(devices.shardings(state, mesh), None))
        found[label] = collectives(step.lower(devices.replicate(key, mesh), state, data).compile().as_text())
    assert found[name] == {"collective-permute"}
    assert "all-gather" in found["star"]


def test_donating_what_was_placed_leaves_the_original(mesh):
    """`place` and `replicate` copy, also on the device where the original is."""
    state = _state()
    double = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 2, tree), donate_argnums=0)
    for placed in (devices.place(state.rows, mesh), devices.place_data(state.rows, mesh)):
        double(placed)
        assert placed["a"].is_deleted()
        assert float(state.rows["a"][0, 1]) == 1.0


def test_a_leaf_left_where_it_was_costs_a_compilation(mesh):
    """Why everything is placed before the first step; and a control of the counter of the laws above."""
    step = jax.jit(lambda count, rows: (count + 1, rows + 1.0), out_shardings=devices.shardings((0, 0), mesh))
    rows = jnp.zeros(8)
    counts = []
    for count in (devices.replicate(jnp.int32(0), mesh), jnp.int32(0)):
        carry = (count, devices.replicate(rows, mesh))
        before = trajectories.num_compilations()
        for _ in range(3):
            carry = step(*carry)
        counts.append(trajectories.num_compilations() - before)
    assert counts == [1, 1]
    assert carry[0].sharding.spec == PartitionSpec()


def test_data_and_keys_are_placed_whatever_their_kind(mesh, key):
    """Shards are split by worker; typed keys of either implementation go everywhere unchanged."""
    data = devices.place_data(trajectories.make_data("float64"), mesh)
    assert {leaf.sharding.spec for leaf in jax.tree.leaves(data)} == {PartitionSpec("workers")}
    assert devices.place_data((), mesh) == ()
    for each in (key, jax.random.key(1, impl="rbg"), jax.random.split(key, 3)):
        placed = devices.replicate(each, mesh)
        assert placed.dtype == each.dtype
        assert placed.sharding.is_fully_replicated
        assert len(placed.sharding.device_set) == 4
        assert jnp.array_equal(jax.random.key_data(placed), jax.random.key_data(each))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda mesh: devices.place(_state()._replace(rows=_state(6).rows), mesh),
            ValueError,
            r"first axis of State.rows\['a'\] = 6 .* 4 devices .*make_mesh\(2\)",
        ),
        (lambda mesh: devices.place_data(jnp.zeros((7, 2)), mesh), ValueError, r"data = 7 .* 4 devices"),
        (lambda mesh: devices.place_data((1.0,), mesh), ValueError, r"data\[0\] has no axes"),
        (lambda mesh: devices.shardings(_state()._replace(slots=jnp.ones(8)), mesh), ValueError, "slots has 1 axes"),
        (
            lambda mesh: devices.shardings(_state()._replace(slots=jnp.ones((8, 6))), mesh),
            ValueError,
            "second axis of State.slots.*6",
        ),
        (lambda _: devices.make_mesh(5), ValueError, r"num_devices = 5 .* \[1, 4\]"),
        (lambda _: devices.make_mesh(0), ValueError, "num_devices = 0"),
        (lambda _: devices.make_mesh(2.0), TypeError, "num_devices = 2.0 is a float"),
        (lambda _: devices.request_cpu_devices(3), RuntimeError, "num_devices = 3 .* with 4 CPU devices"),
        (lambda _: devices.request_cpu_devices(0), ValueError, "num_devices = 0"),
        (lambda _: devices.replicate(0.0, "mesh"), TypeError, "mesh = 'mesh' is a str; .*make_mesh"),
        (
            lambda _: devices.replicate(0.0, jax.make_mesh((4,), ("i",))),
            ValueError,
            r"\('i',\).*'workers'",
        ),
        (
            lambda _: devices.replicate(0.0, jax.make_mesh((4,), ("workers",), axis_types=(AxisType.Explicit,))),
            ValueError,
            "Explicit axes; they must be of type Auto",
        ),
    ],
)
def test_errors_name_the_argument_its_value_and_what_it_may_be(call, error, message, mesh):
    with pytest.raises(error, match=message):
        call(mesh)


def test_cpu_devices_are_had_before_jax_starts():
    """Asking again for the number that JAX has started with is no error."""
    code = """
from elastic_jax import devices
devices.request_cpu_devices(3)
print(devices.make_mesh().size)
devices.request_cpu_devices(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.strip() == "3", done.stderr
