"""Stacked oracles: every strategy, the draws, the keys, the choice of a strategy, and the checks."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trajectories

from elastic_jax import base, convolutions, descriptions, devices, oracles
from elastic_jax.oracles import strategies

NUM_WORKERS = 8
OPTIONS: dict[str, dict[str, Any]] = {
    "auto": {},
    "vmap": {"strategy": "vmap"},
    "unrolled": {"strategy": "unrolled"},
    "map": {"strategy": "map"},
    "pmap": {"strategy": "pmap"},
    "pmap in groups of 1": {"strategy": "pmap", "chunk": 1},
    "groups of 3": {"chunk": 3},
    "unrolled in groups of 4": {"strategy": "unrolled", "chunk": 4},
    "one group": {"strategy": "vmap", "chunk": 9},
    "mesh": {"mesh": 4},
    "mesh of 2, map": {"mesh": 2, "strategy": "map"},
    "mesh of 2, groups of 3": {"mesh": 2, "strategy": "vmap", "chunk": 3},
}
quick_jit = functools.partial(jax.jit, compiler_options=trajectories.QUICK_COMPILER)
ALL_OPTIONS = pytest.mark.parametrize("options", OPTIONS)
ACTIVE = {"all": range(NUM_WORKERS), "four": (6, 1, 4, 3), "three": (5, 0, 2), "one": (6,)}
"""Who may be active: as many as four devices share, or not."""


def build(make: Any, function: Any, options: str, **more: Any) -> base.Oracle:
    chosen = {**OPTIONS[options], **more}
    if "mesh" in chosen:
        chosen["mesh"] = devices.make_mesh(chosen["mesh"])
    return make(function, **chosen)


def call(oracle: base.Oracle, views: Any, data: Any, sets: Any = tuple(ACTIVE)) -> dict[str, Any]:
    """The results for each set of active workers; worker i has row i of `views` and of the keys."""

    def of_active(active: Any, keys: Any, views: Any, data: Any) -> Any:
        workers = jnp.array(active, jnp.int32)
        return oracle(keys[workers], jax.tree.map(lambda leaf: leaf[workers], views), data, workers)

    def of_all(*given: Any) -> Any:
        return {name: of_active(active, *given) for name, active in ACTIVE.items() if name in sets}

    return jax.device_get(quick_jit(of_all)(make_keys(), views, data))


def make_keys() -> jax.Array:
    return jax.random.split(jax.random.key(5, impl=trajectories.quick_keys()), NUM_WORKERS)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def views_like(params: Any) -> Any:
    """Different parameters for every worker: [n, ...]."""
    draw = np.random.default_rng(2).standard_normal
    return jax.tree.map(lambda leaf: (leaf + draw((NUM_WORKERS, *leaf.shape))).astype(leaf.dtype), params)


def one_by_one(function: Any, views: Any, data: Any) -> dict[str, Any]:
    """What an oracle without mini-batches computes, for each set of active workers, in plain Python."""
    compiled, keys = quick_jit(function), make_keys()
    results = [
        compiled(*jax.tree.map(lambda leaf, worker=worker: leaf[worker], (views, data)), keys[worker])
        for worker in range(NUM_WORKERS)
    ]
    return {
        name: jax.tree.map(lambda *leaves: np.stack(leaves), *(results[worker] for worker in active))
        for name, active in ACTIVE.items()
    }


def noisy_loss(params: Any, batch: Any, key: Any) -> Any:
    noise = jax.random.uniform(key, params["b"].shape, params["b"].dtype)
    return jnp.sum((params["a"][None] - batch) ** 2) + jnp.sum(params["b"] ** 3 * noise)


@functools.cache
def rows(dtype: str) -> Any:
    """Views, data with a row for each worker, and what Python computes from them."""
    views = views_like({"a": np.ones((), dtype), "b": np.ones(3, dtype)})
    data = np.random.default_rng(1).standard_normal((NUM_WORKERS, 4)).astype(dtype)
    return views, data, one_by_one(jax.value_and_grad(noisy_loss), views, data)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [*((each, "float64") for each in OPTIONS), *((each, "float32") for each in ("unrolled", "map", "mesh"))],
)
def test_every_strategy_is_a_loop_over_workers(options, dtype):
    """Each worker's loss and gradient at its own view, on its own row, with its own key as it is."""
    views, data, expected = rows(dtype)
    oracle = build(oracles.from_loss, noisy_loss, options, takes_key=True)
    assert_close(call(oracle, views, data), expected, trajectories.TOLERANCES[dtype])


def tell(params: Any, batch: Any, key: Any) -> Any:
    """The "gradient" is the batch itself, and the key."""
    return jnp.zeros(()), {"batch": batch, "key": jax.random.key_data(key).astype(params["key"].dtype)}


def telling_views(*batch: int, num_words: int = 1) -> Any:
    """Parameters into which a batch and a key of so many words fit."""
    return {"batch": jnp.zeros((NUM_WORKERS, *batch)), "key": jnp.zeros((NUM_WORKERS, num_words))}


def telling_data(sizes: Any = (2, 3, 4, 5, 5, 4, 3, 2)) -> base.Shards:
    """Example j of worker i is 100 i + j; padding is -1."""
    examples = 100.0 * np.arange(NUM_WORKERS)[:, None] + np.arange(5)
    examples[np.arange(5) >= np.array(sizes)[:, None]] = -1
    return base.Shards(jnp.asarray(examples), jnp.array(sizes, jnp.int32))


@pytest.fixture(scope="module")
def told() -> Any:
    oracle = oracles.from_value_and_grad(tell, batch_size=2, takes_key=True, strategy="vmap")
    return call(oracle, telling_views(2), telling_data())


@ALL_OPTIONS
def test_a_batch_comes_from_the_workers_own_shard(options, told):
    """Worker i draws examples of shard i, real ones, the same under every strategy; exactly."""
    oracle = build(oracles.from_value_and_grad, tell, options, batch_size=2, takes_key=True)
    found = call(oracle, telling_views(2), telling_data())
    sizes = np.asarray(telling_data().sizes)
    for name, active in ACTIVE.items():
        batches = found[name][1]["batch"]
        assert (batches // 100).tolist() == [[worker] * 2 for worker in active]
        assert np.all(batches % 100 < sizes[list(active)][:, None])
    assert jax.tree.all(jax.tree.map(np.array_equal, found, told))


def test_a_worker_draws_the_same_whoever_else_is_active(told):
    """A draw is a function of the worker's key alone."""
    for name, active in ACTIVE.items():
        assert jax.tree.all(
            jax.tree.map(lambda one, every, a=active: np.array_equal(one, every[list(a)]), told[name], told["all"])
        )


def test_draws_are_uniform_and_with_replacement(key):
    """Every example of the shard equally often; chi-squared at its 1 - 1e-6 quantile, 4 degrees."""
    oracle = oracles.from_value_and_grad(tell, batch_size=5, takes_key=True)
    data = telling_data((5,) * NUM_WORKERS)
    views = telling_views(5, num_words=2)
    draw = quick_jit(lambda keys: oracle(keys, views, data, jnp.arange(NUM_WORKERS))[1]["batch"])
    batches = np.asarray(jax.vmap(draw)(jax.random.split(key, (500, NUM_WORKERS))))
    for worker in range(NUM_WORKERS):
        counts = np.bincount(batches[:, worker].astype(int).ravel() % 100, minlength=5)
        assert len(counts) == 5
        assert np.sum((counts - 500.0) ** 2 / 500.0) < 33.4
    distinct = np.mean([len(set(batch)) for batch in batches.reshape(-1, 5)])
    assert abs(distinct - 5 * (1 - 0.8**5)) < 0.1  # 5 without replacement


def test_the_functions_key_is_not_the_one_that_drew_the_batch(key):
    """Without a batch the function has the worker's key; with one, another, each worker its own."""
    keys, workers = jax.random.split(key, NUM_WORKERS), jnp.arange(NUM_WORKERS)
    given = jax.random.key_data(keys)
    oracle = oracles.from_value_and_grad(tell, takes_key=True)
    _, whole = oracle(keys, telling_views(num_words=2), jnp.zeros(NUM_WORKERS), workers)
    assert np.array_equal(whole["key"], given)
    oracle = oracles.from_value_and_grad(tell, batch_size=2, takes_key=True)
    _, found = quick_jit(oracle)(keys, telling_views(2, num_words=2), telling_data(), workers)
    drawn, batches = found["key"].astype(jnp.uint32), found["batch"]
    seen = {tuple(row) for row in np.concatenate([drawn, given]).tolist()}
    assert len(seen) == 2 * NUM_WORKERS
    again = quick_jit(jax.vmap(lambda key, size: jax.random.randint(key, (2,), 0, size, dtype=jnp.int32)))
    indices = again(jax.random.wrap_key_data(drawn), telling_data().sizes)
    assert not np.array_equal(indices, batches % 100)


def convolutional_loss(params: Any, batch: Any) -> Any:
    images, targets = batch
    for name, stride in (("first", 1), ("last", 2)):
        images = jnp.tanh(
            jax.lax.conv_general_dilated(
                images, params[name], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        )
    return jnp.mean((images.mean((1, 2)) - targets) ** 2)


def convolutional_problem(num_workers: int = NUM_WORKERS) -> Any:
    draw = np.random.default_rng(4).standard_normal
    params = {"first": draw((3, 3, 2, 3)), "last": draw((3, 3, 3, 2))}
    return params, (draw((num_workers, 2, 6, 6, 2)), draw((num_workers, 2, 2)))


@pytest.fixture(scope="module")
def convolved() -> Any:
    """Views, data and results of a convolutional network, in plain Python."""
    params, data = convolutional_problem()
    views = views_like(params)

    def function(params: Any, batch: Any, _: Any) -> Any:
        return jax.value_and_grad(convolutional_loss)(params, batch)

    return views, data, one_by_one(function, views, data)


@pytest.mark.parametrize("options", ["auto", "vmap", "unrolled", "map", "pmap", "groups of 3", "mesh"])
def test_convolutions_are_the_same_under_every_strategy_and_never_grouped(options, convolved):
    """On the CPU no grouped convolution is left, which would be slow; nor if seeds are vmapped outside."""
    views, data, expected = convolved
    oracle = build(oracles.from_loss, convolutional_loss, options)
    found = call(oracle, views, data, sets=["all"])
    assert_close(found, {"all": expected["all"]}, 1e-12)
    keys, workers = make_keys(), jnp.arange(NUM_WORKERS)
    seeds = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), views)
    for function, each in ((oracle, views), (jax.vmap(oracle, (None, 0, None, None)), seeds)):
        groups = grouped(jax.make_jaxpr(function)(keys, each, data, workers))
        assert groups
        assert set(groups) == {"1"}


def grouped(jaxpr: Any) -> list[str]:
    return re.findall(r"(?:feature|batch)_group_count=(\d+)", str(jaxpr))


def test_vmap_alone_groups_convolutions(convolved):
    """Control of the test above: it can see what it forbids."""
    views, data, _ = convolved
    assert str(NUM_WORKERS) in grouped(jax.make_jaxpr(jax.vmap(jax.grad(convolutional_loss)))(views, data))


@pytest.mark.parametrize("options", ["auto", "mesh"])
def test_seeds_may_be_vmapped_outside(options, convolved):
    """Each of two seeds gets what it gets alone, with convolutions too."""
    views, data, expected = convolved
    oracle = build(oracles.from_loss, convolutional_loss, options)
    keys, workers = make_keys(), jnp.arange(NUM_WORKERS)
    seeds = jax.tree.map(lambda leaf: np.stack([leaf[::-1], leaf]), views)
    both = quick_jit(jax.vmap(oracle, (None, 0, None, None)))(keys, seeds, data, workers)
    assert_close(jax.device_get(jax.tree.map(lambda leaf: leaf[1], both)), expected["all"], 1e-12)


@ALL_OPTIONS
def test_only_the_rows_of_the_batch_are_read(options):
    """No intermediate is as large as one shard, whoever is active."""
    shards = base.Shards(jnp.zeros((NUM_WORKERS, 1000, 3)), jnp.full(NUM_WORKERS, 1000, jnp.int32))
    oracle = build(oracles.from_value_and_grad, tell, options, batch_size=2, takes_key=True)
    for active in ACTIVE.values():
        k = len(active)
        keys = jax.random.split(jax.random.key(0), k)
        views = jax.tree.map(lambda leaf, k=k: leaf[:k], telling_views(2, 3, num_words=2))
        jaxpr = jax.make_jaxpr(oracle)(keys, views, shards, jnp.array(active, jnp.int32))
        sizes = [
            out.aval.size
            for each in strategies._equations(jaxpr.jaxpr)
            for out in each.outvars
            if not list(strategies.jaxprs_in_params(each.params))
        ]
        assert 0 < max(sizes) < 1000


@pytest.mark.parametrize("options", ["vmap", "mesh", "mesh of 2, map"])
def test_split_data_stays_where_it_is(options):
    """With data and views split by worker, drawing and evaluating need no communication at all."""
    oracle = build(oracles.from_loss, trajectories.loss, options, batch_size=2)
    mesh = devices.make_mesh(OPTIONS[options].get("mesh", 4))
    views = jax.tree.map(lambda leaf: jnp.stack([leaf] * NUM_WORKERS), trajectories.make_params("float32"))
    keys = jax.random.split(jax.random.key(0), NUM_WORKERS)
    keys, views, data = devices.place_data((keys, views, trajectories.make_data("float32")), mesh)
    workers = devices.replicate(jnp.arange(NUM_WORKERS), mesh)
    text = jax.jit(oracle).lower(keys, views, data, workers).compile().as_text()
    assert "num_partitions" in text
    assert not re.findall(r"(all-gather|all-reduce|collective-permute|all-to-all)\(", text)


def test_some_workers_of_split_data_are_evaluated_on_all_devices():
    """Batches are sent to where they are evaluated: as on one device, a part of them on each of four."""
    mesh, workers = devices.make_mesh(4), jnp.array(ACTIVE["four"])
    plain = build(oracles.from_loss, trajectories.loss, "vmap", batch_size=2)
    spread = build(oracles.from_loss, trajectories.loss, "mesh", batch_size=2)
    views = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), trajectories.make_params("float64"))
    keys, data = jax.random.split(jax.random.key(0), 4), trajectories.make_data("float64")
    expected = quick_jit(plain)(keys, views, data, workers)
    placed = (*devices.place_data((keys, views, data), mesh), devices.replicate(workers, mesh))
    assert_close(quick_jit(spread)(*placed), expected, 1e-12)
    assert "shard_map" in str(jax.make_jaxpr(spread)(*placed))


def test_a_gradient_alone_has_the_loss_zero_or_nan():
    """So that divergence is found without a loss."""
    oracle = oracles.from_grad(lambda params, row: {"a": params["a"] * row, "b": params["b"]})
    views = {"a": jnp.array([[1.0, 2.0], [jnp.inf, 1.0], [1.0, 1.0], [1e308, 1e308]]), "b": jnp.ones(4)}
    views["b"] = views["b"].at[2].set(jnp.nan)
    keys, workers = jax.random.split(jax.random.key(0), 4), jnp.arange(4)
    losses, grads = oracle(keys, views, jnp.ones(4), workers)
    np.testing.assert_array_equal(losses, [0.0, jnp.nan, jnp.nan, 0.0])
    np.testing.assert_array_equal(grads["a"], views["a"])
    only = oracles.from_grad(lambda params, _: params)(keys[:1], jnp.ones((1, 2), jnp.float32), (), workers[:1])
    assert [leaf.dtype for leaf in only] == [jnp.float32, jnp.float32]


def test_data_without_leaves_is_fine():
    """An analytic problem may need no data: n is then unknown, and the mesh used where it divides k."""
    for options in ("auto", "map", "pmap", "groups of 3", "mesh"):
        oracle = build(oracles.from_grad, lambda params, _: 2 * params, options)
        for k in (1, 3, 4):
            result = quick_jit(oracle)(jax.random.split(jax.random.key(0), k), jnp.arange(1.0 * k), (), jnp.arange(k))
            np.testing.assert_array_equal(result[1], 2.0 * np.arange(k))


def matrix_loss(params: Any, batch: Any) -> Any:
    return jnp.sum((batch @ params) ** 2)


def deep_loss(params: Any, batch: Any) -> Any:
    hidden = batch
    for _ in range(20):
        hidden = jnp.tanh(hidden @ params)
    return jnp.sum(hidden)


def products(params: Any, batch: Any, *, number: int) -> Any:
    """A "gradient" that takes so many matrix products."""
    hidden = batch
    for _ in range(number):
        hidden = jnp.tanh(hidden @ params)
    return jnp.sum(hidden), hidden


def products_and_a_convolution(params: Any, batch: Any, *, number: int) -> Any:
    """The same after a convolution."""
    return products(
        params, jnp.convolve(batch.ravel(), jnp.ones(3, batch.dtype), "same").reshape(batch.shape), number=number
    )


def elementwise_loss(params: Any, batch: Any) -> Any:
    return jnp.sum(jnp.cos(params - batch))


def shapes(k: int, *shape: int) -> Any:
    return jax.ShapeDtypeStruct((k, *shape), jnp.float32)


def convolutional_shapes(k: int) -> Any:
    params, data = convolutional_problem(k)
    views = jax.tree.map(lambda leaf: shapes(k, *leaf.shape), params)
    return views, jax.tree.map(lambda leaf: shapes(*leaf.shape), data)


BIG = 2**20
CHOICES = {
    "one worker needs no mapping": (matrix_loss, (shapes(1, BIG), shapes(1, 2, BIG)), {}, ("unrolled", 1, 1)),
    "matrices": (matrix_loss, (shapes(8, 9), shapes(8, 5, 9)), {}, ("vmap", 1, 1)),
    "large activations": (matrix_loss, (shapes(16, 2), shapes(16, BIG, 2)), {}, ("map", 1, 1)),
    "large activations in groups": (
        matrix_loss,
        (shapes(16, 2), shapes(16, BIG, 2)),
        {"chunk": 4},
        ("vmap", 4, 1),
    ),
    "large parameters": (matrix_loss, (shapes(16, BIG), shapes(16, 2, BIG)), {}, ("vmap", 1, 1)),
    "large elementwise": (elementwise_loss, (shapes(16, BIG), shapes(16, BIG)), {}, ("vmap", 1, 1)),
    "many products": (deep_loss, (shapes(8, 5, 5), shapes(8, 5, 5)), {}, ("unrolled", 2, 1)),
    "many products on a mesh": (deep_loss, (shapes(8, 5, 5), shapes(8, 5, 5)), {"mesh": 4}, ("map", 1, 4)),
    "half of the workers on a mesh": (deep_loss, (shapes(4, 5, 5), shapes(8, 5, 5)), {"mesh": 2}, ("map", 1, 2)),
    "few products on a mesh": (matrix_loss, (shapes(8, 9), shapes(8, 5, 9)), {"mesh": 4}, ("vmap", 1, 4)),
    "three convolutions": (convolutional_loss, convolutional_shapes(3), {}, ("unrolled", 1, 1)),
    "four convolutions": (convolutional_loss, convolutional_shapes(4), {}, ("unrolled", 2, 1)),
    "seven convolutions": (convolutional_loss, convolutional_shapes(7), {}, ("unrolled", 4, 1)),
    "eight convolutions": (convolutional_loss, convolutional_shapes(8), {}, ("unrolled", 2, 1)),
    "many convolutions": (convolutional_loss, convolutional_shapes(33), {}, ("unrolled", 9, 1)),
    "convolutions in groups": (convolutional_loss, convolutional_shapes(9), {"chunk": 3}, ("unrolled", 5, 1)),
    "convolutions as was asked": (
        convolutional_loss,
        convolutional_shapes(9),
        {"strategy": "unrolled", "chunk": 5},
        ("unrolled", 2, 1),
    ),
    "convolutions on a mesh": (convolutional_loss, convolutional_shapes(8), {"mesh": 4}, ("map", 1, 4)),
    "pmap": (matrix_loss, (shapes(6, 9), shapes(6, 5, 9)), {"strategy": "pmap"}, ("vmap", 1, 1)),
    "pmap over all": (matrix_loss, (shapes(8, 9), shapes(8, 5, 9)), {"strategy": "pmap"}, ("vmap", 1, 4)),
    "as was asked": (matrix_loss, (shapes(8, 9), shapes(8, 5, 9)), {"strategy": "map"}, ("map", 1, 1)),
}


@pytest.mark.parametrize("case", CHOICES)
def test_auto_chooses_by_the_function_and_the_backend(case, monkeypatch):
    """The rule of `strategies.resolve`; what is chosen can be recorded."""
    function, (views, data), options, (strategy, num_groups, num_devices) = CHOICES[case]
    if "mesh" in options:
        options = {**options, "mesh": devices.make_mesh(options["mesh"])}
    oracle = oracles.from_loss(function, **options)
    spread = None if num_devices == 1 else "shard_map" if "mesh" in options else "pmap"
    rewrites = function is convolutional_loss
    expected = oracles.Choice(strategy, num_groups, spread, num_devices, rewrites)
    assert oracles.chosen_strategy(oracle, views, data) == expected
    if "strategy" not in options and strategy != "unrolled":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        elsewhere = oracles.chosen_strategy(oracle, views, data)
        assert elsewhere.strategy == "vmap"
        assert not elsewhere.rewrites_convolutions


DEEP = {
    "just below, on a mesh": (31, {"mesh": 4}, "vmap"),
    "just enough, on a mesh": (32, {"mesh": 4}, "map"),
    "just enough, under pmap": (32, {"strategy": "pmap"}, "map"),
    "just enough, in groups on a mesh": (32, {"mesh": 4, "chunk": 2}, "map"),
    "just enough, one worker for each device": (32, {"mesh": 4, "k": 4}, "unrolled"),
    "just enough, as was asked": (32, {"mesh": 4, "strategy": "vmap"}, "vmap"),
    "just below, on one device": (31, {}, "vmap"),
    "just enough, on one device": (32, {}, "unrolled"),
    "far more, on one device": (2000, {}, "map"),
    "far more, fewer active than the mesh needs": (100, {"mesh": 4, "k": 3}, "unrolled"),
}
"""Matrix products of one worker, options and the number of workers active, and what is to be chosen."""


@pytest.mark.parametrize("case", DEEP)
def test_models_with_many_matrix_products_are_heavy(case):
    """From 32 products on: one by one on one of several devices, in unrolled groups on a device of its own."""
    number, options, expected = DEEP[case]
    k = options.get("k", NUM_WORKERS)
    options = {name: value for name, value in options.items() if name != "k"}
    if "mesh" in options:
        options["mesh"] = devices.make_mesh(options["mesh"])
    oracle = oracles.from_value_and_grad(functools.partial(products, number=number), **options)
    n = 4 if k == 4 else NUM_WORKERS
    assert oracles.chosen_strategy(oracle, shapes(k, 5, 5), shapes(n, 5, 5)).strategy == expected


@pytest.mark.parametrize("number", [31, 32])
@pytest.mark.parametrize(("options", "expected"), [({}, "unrolled"), ({"mesh": 4}, "map")])
def test_with_convolutions_the_number_of_products_does_not_matter(number, options, expected):
    """They are unrolled on one device and mapped on several, however deep the model is."""
    if "mesh" in options:
        options = {"mesh": devices.make_mesh(options["mesh"])}
    oracle = oracles.from_value_and_grad(functools.partial(products_and_a_convolution, number=number), **options)
    found = oracles.chosen_strategy(oracle, shapes(NUM_WORKERS, 5, 5), shapes(NUM_WORKERS, 5, 5))
    assert (found.strategy, found.rewrites_convolutions) == (expected, True)


def test_unrolling_stops_where_compilation_would_take_long(monkeypatch):
    """The number of equations, all of a group together, is limited: smaller groups, then none."""
    oracle = oracles.from_loss(convolutional_loss)
    views, data = convolutional_shapes(8)
    one = [jax.tree.map(lambda leaf: shapes(*leaf.shape[1:]), tree) for tree in (views, data)]
    most = convolutions.count_equations(oracle.keywords["value_and_grad"], *one)
    for limit, groups in ((4 * most, 2), (4 * most - 1, 4), (2 * most, 4), (2 * most - 1, None)):
        monkeypatch.setattr(strategies, "UNROLLED_EQUATIONS", limit)
        found = oracles.chosen_strategy(oracle, views, data)
        assert (found.strategy, found.num_groups) == (("map", 1) if groups is None else ("unrolled", groups))
    assert oracles.chosen_strategy(lambda *_: None, *convolutional_shapes(8)) is None


def test_an_oracle_prints_what_it_is():
    """The function and every option, for a record of a run."""
    oracle = oracles.from_loss(matrix_loss, batch_size=3, strategy="map")
    assert "matrix_loss" in repr(oracle)
    described = descriptions.as_data(oracle)
    assert described["value_and_grad"]["loss"] == "matrix_loss"
    assert (described["batch_size"], described["strategy"]) == (3, "map")
    assert "elementwise_loss" in repr(oracles.from_grad(elementwise_loss))


def ask(k: int = NUM_WORKERS, data: Any = None, **options: Any) -> Any:
    oracle = oracles.from_loss(elementwise_loss, **options)
    views = jnp.zeros((k, 1))
    return oracle(jax.random.split(jax.random.key(0), k), views, data, jnp.arange(k, dtype=jnp.int32))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size = 0 .* >= 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size = 2.0 is a float"),
        (
            {"batch_size": 3, "data": telling_data()},
            ValueError,
            "batch_size = 3 .* smallest shard, which holds 2",
        ),
        ({"batch_size": 6, "data": telling_data()}, ValueError, r"batch_size = 6 .* \[1, 5\]"),
        ({"batch_size": 1, "data": jnp.zeros((8, 2))}, TypeError, "data is a ArrayImpl; .*base.Shards"),
        ({"data": (jnp.zeros(8), jnp.zeros(7))}, ValueError, r"\(8,\), \(7,\).*worker axis first"),
        ({"strategy": "vamp"}, ValueError, "strategy = 'vamp' is unknown; did you mean 'vmap'?"),
        ({"chunk": 0}, ValueError, "chunk = 0 .* >= 1"),
        ({"chunk": 2, "strategy": "map"}, ValueError, "chunk = 2 .* one worker at a time"),
        ({"takes_key": 1}, TypeError, "takes_key = 1"),
        ({"mesh": "all"}, TypeError, "mesh = 'all' is a str"),
        ({"mesh": jax.make_mesh((4,), ("workers",))}, ValueError, "Explicit"),
        ({"mesh": devices.make_mesh(4), "strategy": "pmap"}, ValueError, "give one of the two"),
        (
            {"mesh": devices.make_mesh(4), "k": 6, "data": jnp.zeros(6)},
            ValueError,
            r"num_workers = 6 .* 4 devices .* multiple of 4.*make_mesh\(2\)",
        ),
    ],
)
def test_errors_name_the_argument_its_value_and_what_it_may_be(options, error, message):
    with pytest.raises(error, match=message):
        ask(**options)


def test_a_function_is_needed():
    for make, name in ((oracles.from_loss, "loss"), (oracles.from_grad, "grad")):
        with pytest.raises(TypeError, match=f"{name} = 3 is a int"):
            make(3)
