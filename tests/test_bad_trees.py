"""Trees that do not fit one another are refused by name while they are traced, before anything is compiled."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elastic_jax
from elastic_jax import algorithms, arguments, base, data, devices, metrics, oracles, run, stacked
from elastic_jax.algorithms import synchronous_sgd
from elastic_jax.problems import log_cosh, logistic, mlp, quadratic, sequences, supervised, transformer
from elastic_jax.run.feed import Feed

HOME = pathlib.Path(elastic_jax.__file__).parent
VARIANTS = algorithms.variants()
N = 4
PARAMS = {"w": np.ones(3), "b": np.ones((2, 1), np.float32)}
LEAVES = st.builds(
    np.zeros,
    st.sampled_from([(), (1,), (3,), (2, 1), (1, 3)]),
    st.sampled_from([np.float32, np.float64, np.int32, np.bool_]),
)
NO_LEAVES = st.none() | st.text(max_size=2) | st.builds(object)
TREES = st.recursive(
    LEAVES | NO_LEAVES,
    lambda inner: (
        st.dictionaries(st.sampled_from("bvw"), inner, max_size=3)
        | st.lists(inner, max_size=2)
        | st.tuples(inner, inner)
    ),
    max_leaves=4,
)
NEARLY_PARAMS = st.fixed_dictionaries({"w": LEAVES | st.just(PARAMS["w"]), "b": LEAVES | st.just(PARAMS["b"])})
NOT_ARRAYS = ["a", b"a", ..., {"w": "a"}, [1.0, "b"], (np.ones(2), np.array(["a"])), np.array([None, 1])]
NOT_ARRAYS += [np.ones(2, np.longdouble), np.array(["2020-01-01"], "M8[D]")]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_compiled():
    """A run ends before its first state is made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("start_lane", "execute"):
            patch.setattr(run, name, None)
        yield


def refuses(match, function, *positional, **named):
    """`function` raises our own error, which begins with `match`."""
    with pytest.raises((TypeError, ValueError), match=f"^(?:{match})") as caught:
        function(*positional, **named)
    assert pathlib.Path(str(caught.traceback[-1].path)).is_relative_to(HOME), "raised by somebody else"


def fits(tree, template):
    """Whether two trees are the same but for the values."""
    if jax.tree.structure(tree) != jax.tree.structure(template):
        return False
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(template), strict=True)
    return all(isinstance(a, np.ndarray) and (a.shape, a.dtype) == (b.shape, b.dtype) for a, b in pairs)


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def ask(oracle, params=PARAMS, rows=(), k=N):
    """The shapes of what an oracle gives for k workers."""
    views = jax.tree.map(lambda leaf: np.stack([leaf] * k), params)
    keys, workers = jax.random.split(jax.random.key(0), k), jnp.arange(k, dtype=jnp.int32)
    return jax.eval_shape(lambda *given: oracle(*given, workers), keys, views, rows)


@settings(deadline=None, max_examples=60)
@given(TREES | NEARLY_PARAMS)
def test_a_gradient_fits_its_parameters_or_is_refused(tree):
    """Whatever a function of one worker returns for a gradient, for a loss and a gradient, or for a loss."""
    make = oracles.from_grad(lambda *_: tree)
    if fits(tree, PARAMS):
        assert shapes(ask(make)[1]) == jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((N, *leaf.shape), leaf.dtype), tree
        )
    else:
        refuses(r"grad\(params, batch\)", ask, make)
        refuses(r"grad\b", ask, oracles.from_value_and_grad(lambda *_: (jnp.zeros(()), tree)))
    is_loss = isinstance(tree, np.ndarray) and tree.shape == () and tree.dtype.kind == "f"
    if not is_loss:
        refuses(r"loss\(params, batch\) = ", ask, oracles.from_loss(lambda *_: tree))
        refuses(r"loss = ", ask, oracles.from_value_and_grad(lambda params, _: (tree, params)))
    if not (isinstance(tree, tuple) and len(tree) == 2):
        refuses(r"value_and_grad\(params, batch\) = ", ask, oracles.from_value_and_grad(lambda *_: tree))


@pytest.mark.parametrize("module", VARIANTS.values(), ids=VARIANTS)
@settings(deadline=None, max_examples=10)
@given(tree=TREES | NEARLY_PARAMS, num_losses=st.sampled_from([0, N - 1, N + 1]))
def test_no_variant_takes_what_a_stacked_oracle_should_not_return(module, tree, num_losses):
    """Gradients like the views, a loss for each active worker: asked once, for every variant alike."""

    def step(oracle):
        algorithm = module.build(oracle, num_workers=N)
        state = jax.eval_shape(algorithm.init, jax.random.key(0), PARAMS)
        return jax.eval_shape(algorithm.step, jax.random.key(0), state, ())

    refuses(r"grads\b", step, lambda *given: (jnp.zeros(given[3].shape), tree))
    refuses(r"losses = ", step, lambda *given: (jnp.zeros(num_losses), given[1]))
    refuses(r"oracle\(keys, views, data, workers\) = ", step, lambda *given: given[1])
    assert step(lambda *given: (jnp.zeros(given[3].shape), given[1]))


def loss(params, row):
    return jnp.sum(params["w"] * row)


SUM = oracles.from_loss(loss)
ROWS = np.ones((N, 3))
WEIGHTS = {"w": np.ones(3)}


@pytest.mark.parametrize(
    ("oracle", "params", "rows", "cause"),
    [
        (SUM, {"v": np.ones(3)}, ROWS, "KeyError: 'w'"),
        (SUM, WEIGHTS, None, "TypeError"),
        (SUM, WEIGHTS, np.ones((N, 2)), "TypeError: mul got incompatible shapes"),
        (oracles.from_loss(loss, takes_key=True), WEIGHTS, ROWS, "TypeError: loss.. takes 2 positional"),
        (oracles.from_loss(jnp.vdot), WEIGHTS, ROWS, "TypeError"),
        (
            logistic.build(num_workers=N, reg=0.0).oracle,
            np.ones(11),
            logistic.build(num_workers=N, reg=0.0).data,
            "Typ",
        ),
    ],
)
def test_parameters_and_batch_that_a_loss_cannot_take_are_told_by_their_shapes(oracle, params, rows, cause):
    """The error is ours, says what the loss was given, and has what went wrong as its cause."""
    refuses(rf"loss = .* cannot take params = .*float64\[\d+\].* with batch = .*: {cause}", ask, oracle, params, rows)


def shards(num_workers=N, longest=5, sizes=5, trailing=(3,)):
    examples = np.ones((num_workers, longest, *trailing))
    return base.Shards(jnp.asarray(examples), jnp.full(num_workers, sizes, jnp.int32))


def start(oracle=SUM, given=ROWS, params=WEIGHTS):
    algorithm = synchronous_sgd.build(oracle, num_workers=N)
    return run.run(algorithm, params, given, num_steps=3, key=jax.random.key(0), progress=False)


DRAWS = oracles.from_loss(lambda params, batch: jnp.sum(params["w"] @ batch.T), batch_size=2)


@pytest.mark.parametrize(
    ("oracle", "given", "message"),
    [
        (SUM, ROWS[:3], r"data = float64\[3, 3\] is for 3 workers; it must be for num_workers = 4"),
        (SUM, np.ones((8, 3)), r"data = float64\[8, 3\] is for 8 workers"),
        (SUM, iter([ROWS[:3]]), r"data = float64\[3, 3\] is for 3 workers"),
        (SUM, np.ones(()), r"data has leaves of shapes \(\)"),
        (SUM, (ROWS, ROWS[:3]), r"data has leaves of shapes \(\(4, 3\), \(3, 3\)\)"),
        (SUM, [[1.0, 2.0]], r"data has leaves of shapes"),
        (DRAWS, ROWS, "data is a ArrayImpl; with a batch_size .* base.Shards"),
        (DRAWS, shards(3), r"data = Shards\(.*\) is for 3 workers"),
        (DRAWS, shards(longest=1), r"batch_size = 2 is out of range; it must be an integer in \[1, 1\]"),
        (DRAWS, shards(sizes=1), r"batch_size = 2 is larger than the smallest shard, which holds 1"),
        (DRAWS, shards(sizes=6), r"data\.sizes has sizes from 6 to 6; they must be in \[1, 5\]"),
        (DRAWS, shards(sizes=0), r"data\.sizes has sizes from 0 to 0"),
        (DRAWS, base.Shards((), shards().sizes), r"data = Shards\(examples=\(\), .*every leaf with the same m"),
        (DRAWS, base.Shards(jnp.ones(N), shards().sizes), r"data = Shards\(.*every leaf with the same m"),
        (DRAWS, shards()._replace(sizes=jnp.ones(N)), r"data = Shards\(.*sizes int32\[n\]"),
        (DRAWS, shards()._replace(sizes=jnp.ones((N, 1), jnp.int32)), r"data = Shards\(.*sizes int32\[n\]"),
        (DRAWS, base.Shards((jnp.ones((N, 5)), jnp.ones((N, 2))), shards().sizes), r"data = Shards\(.*the same m"),
    ],
)
def test_a_run_refuses_data_that_are_not_for_its_workers(oracle, given, message):
    """Rows for other workers, no shards, shards smaller than a batch."""
    refuses(message, start, oracle, given)


@pytest.mark.parametrize("tree", NOT_ARRAYS, ids=repr)
def test_what_is_no_array_is_refused_by_every_function_that_takes_a_tree(tree):
    """With the name of the argument, and the path of the leaf."""
    mesh = devices.make_mesh(2)
    refuses("data", start, SUM, tree)
    refuses("data, batch 0", start, SUM, iter([tree]))
    refuses("params", start, params=tree)
    refuses("data", oracles.check_data, SUM, tree, N)
    refuses("views", oracles.chosen_strategy, SUM, tree, ROWS)
    refuses("state", devices.place, tree, mesh)
    refuses("state", devices.shardings, tree, mesh)
    refuses("data", devices.place_data, tree, mesh)
    refuses("tree", devices.replicate, tree, mesh)
    refuses("tree", devices.gather, tree)
    refuses("tree", stacked.broadcast, tree, 2)
    refuses("params", metrics.promised_state_bytes, VARIANTS["local_sgd"].build(SUM, num_workers=2), tree)
    refuses("examples", data.shard, tree, num_workers=1)
    for name in ("examples", "test_examples", "calibration"):
        given = {"examples": np.ones(4), name: tree}
        refuses(name, supervised.build, init=print, loss=loss, num_workers=2, batch_size=1, **given)


@pytest.mark.parametrize(
    "params", [None, (), {}, [None], jnp.arange(3), {"w": 1}, True, 1j, jax.random.key(0)], ids=repr
)
def test_a_run_starts_from_floats(params):
    """No empty tree, no integers, no state in the place of parameters."""
    refuses("params.* it must be a floating-point array", start, params=params)
    state = VARIANTS["local_sgd"].build(SUM, num_workers=N).init(jax.random.key(0), {"w": jnp.ones(3)})
    refuses(r"params\.num_steps = int32\[\]", start, params=state)


@settings(deadline=None, max_examples=40)
@given(first=NEARLY_PARAMS | LEAVES, second=TREES | NEARLY_PARAMS)
def test_every_batch_is_like_the_first_or_refused(first, second):
    """One program is compiled, so the second batch must fit it."""
    feed = Feed(iter([first, second]), None)
    if fits(second, first):
        feed.proceed()
        assert shapes(feed.data) == shapes(first)
    else:
        refuses("data, batch 1", feed.proceed)
    assert Feed(iter([first, first]), None).is_host_fed


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"w": np.ones(3)}, r"second\['b'\] is missing; it must be \(2, 1\), as first\['b'\]"),
        ({**PARAMS, "v": np.ones(3)}, r"second\['v'\] is \(3,\); it must be absent, as first\['v'\]"),
        ({**PARAMS, "w": np.ones(1)}, r"second\['w'\] is \(1,\); it must be \(3,\), as first\['w'\]"),
        (list(PARAMS.values()), r"second\['b'\] is missing"),
    ],
)
def test_arithmetic_on_two_trees_needs_them_alike(second, message):
    """No leaf is stretched to another's shape."""
    for function in (stacked.add, stacked.subtract, stacked.vdot):
        refuses(message, function, PARAMS, second)
    refuses(r"second is a PyTreeDef\(\[\*\]\); it must be", stacked.add, (np.ones(3),), [np.ones(3)])
    for number in (0, -1, 2.0, None, "2", True):
        refuses(f"num_workers = {number!r}", stacked.broadcast, PARAMS, number)
    refuses(r"rows = \{\}", stacked.num_rows, {})


IMAGES = data.Dataset("images", np.zeros((8, 4, 1)), np.arange(8) % 2, np.zeros((2, 4, 1)), np.zeros(2, int), 2)
PAIRS = sequences.reversal(num_train=8, num_test=2)


@pytest.mark.parametrize(
    ("build", "dataset", "message"),
    [
        (mlp.build, IMAGES._replace(train_inputs=None), r"dataset\.train_inputs = None is a NoneType"),
        (mlp.build, IMAGES._replace(train_inputs=np.array(["a"] * 8)), r"dataset\.train_inputs is <U1\[8\]"),
        (mlp.build, IMAGES._replace(train_targets=np.zeros(7, int)), r"dataset\.train_inputs has shape \[8, 4, 1\]"),
        (mlp.build, IMAGES._replace(test_targets=np.zeros(3, int)), r"dataset\.test_inputs has shape \[2, 4, 1\]"),
        (mlp.build, IMAGES._replace(train_targets=np.zeros(8)), "dataset = 'images' has .* dtype float64"),
        (mlp.build, IMAGES._replace(num_classes=1), "dataset = 'images' has num_classes = 1"),
        (mlp.build, IMAGES._replace(train_targets=np.arange(8)), "dataset = 'images' has labels from 0 to 7"),
        (mlp.build, IMAGES._replace(num_classes="2"), r"dataset\.num_classes = '2'"),
        (transformer.build, PAIRS._replace(test_targets=PAIRS.test_targets[:1]), r"dataset\.test_inputs has shape"),
        (transformer.build, PAIRS._replace(num_classes=4), r"dataset\.train_inputs has tokens"),
        (
            logistic.build,
            IMAGES._replace(train_inputs=np.full((8, 1), np.nan)),
            "dataset has inputs that are not finite",
        ),
        (logistic.build, (["a", "b"], [0, 1]), r"dataset\[0\] is <U1\[2\]"),
        (logistic.build, ([[1.0], [1.0, 2.0]], [0, 1]), r"dataset\[0\] = .* makes no array"),
        (logistic.build, ([1.0, 2.0], [0, 1], 3), r"dataset = \(.*it must be a pair"),
        (log_cosh.build, ([[1.0], [2.0]], [0.5]), r"dataset has inputs of shape \[2, 1\] and targets of shape \[1\]"),
    ],
)
def test_a_data_set_that_is_none_is_refused(build, dataset, message):
    """Parts that are no arrays of numbers, or not of one length, and labels that are no classes."""
    refuses(message, build, num_workers=2, dataset=dataset, batch_size=1)


@pytest.mark.parametrize(
    "labels", [None, ["a"] * 4, np.ones(4), [0, 1], [[0], [1, 2]], np.zeros((4, 1), int)], ids=repr
)
def test_labels_are_integers(labels):
    """One for each example, where the split looks at them."""
    refuses("labels", data.shard, np.ones(4), num_workers=2, split="by_label", labels=labels)


def test_numbers_of_64_bits_are_not_cut():
    """Class numbers become int32 only where they fit."""
    refuses(
        r"examples has integers from 0 to 2147483648",
        supervised.build,
        init=print,
        loss=loss,
        num_workers=1,
        batch_size=1,
        examples=np.array([0, 2**31]),
    )


def test_the_quadratic_tells_views_that_are_not_its_own():
    """An oracle that is no function of one worker asks for itself."""
    problem = quadratic.build(num_workers=N, dim=3)
    for params in (np.ones(1), np.ones(4), PARAMS, np.ones((3, 1))):
        refuses("views = ", ask, problem.oracle, params, problem.data)


def test_a_description_of_a_large_tree_is_short():
    """An error shows shapes, never values, and not all of a thousand."""
    told = arguments.describe({f"layer{i}": np.ones((3, 2)) for i in range(1000)})
    assert told.startswith("{'layer0': float64[3, 2], ")
    assert len(told) < 400
