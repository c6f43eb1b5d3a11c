"""The supervised problems: any loss, the image classifiers, the transformer."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from elastic_jax import base, data, devices, problems, stacked
from elastic_jax.algorithms import synchronous_sgd
from elastic_jax.problems import (
    classification,
    cnn,
    flax_modules,
    mlp,
    normalization,
    resnet,
    sequences,
    supervised,
    transformer,
    wide_resnet,
)
from elastic_jax.problems.sequences import END, FIRST_WORD, PADDING

CIFAR = data.Dataset(
    "zeros",
    np.zeros((8, 32, 32, 3), np.uint8),
    np.zeros(8, np.int32),
    np.zeros((4, 32, 32, 3), np.uint8),
    np.zeros(4, np.int32),
    10,
)


@pytest.fixture(scope="module")
def digits():
    """A part of the embedded digits, small enough that a pass over it costs nothing."""
    every = data.load("digits")
    return every._replace(
        train_inputs=every.train_inputs[:301],
        train_targets=every.train_targets[:301],
        test_inputs=every.test_inputs[:50],
        test_targets=every.test_targets[:50],
    )


def num_parameters(problem):
    return stacked.num_elements(jax.eval_shape(problem.init, jax.random.key(0)))


# any loss


def squared_error(params, batch):
    return jnp.mean((batch["input"] @ params - batch["target"]) ** 2)


@pytest.fixture(scope="module")
def regression():
    """Eleven examples for three workers: the shards differ in size, so one row is padding."""
    rng = np.random.default_rng(0)
    examples = {"input": rng.normal(size=(11, 2)), "target": rng.normal(size=11)}
    problem = supervised.build(
        init=lambda _: jnp.ones(2),
        loss=squared_error,
        examples=examples,
        num_workers=3,
        batch_size=2,
        block_size=9,
    )
    return problem, examples


def test_the_objective_is_the_mean_over_workers_of_the_mean_over_their_real_examples(regression):
    """f(x) = (1/n) Σ_i (1/m_i) Σ_j loss(x, ξ_ij), in a plain loop; with the padding it is another number."""
    problem, _ = regression
    params = jnp.array([0.3, -2.0])
    of_workers, of_padded = [], []
    for worker, size in enumerate(problem.data.sizes.tolist()):
        rows = jax.tree.map(lambda leaf, worker=worker: np.asarray(leaf[worker]), problem.data.examples)
        losses = (rows["input"] @ np.asarray(params) - rows["target"]) ** 2
        of_workers.append(np.mean(losses[:size]))
        of_padded.append(np.mean(losses))
    assert sorted(problem.data.sizes.tolist()) == [3, 4, 4]
    assert_allclose(problem.objective(params, problem.data), np.mean(of_workers), rtol=1e-12)
    assert abs(np.mean(of_padded) - np.mean(of_workers)) > 1e-3


def test_every_example_is_the_example_of_one_worker(regression):
    """Over all shards the real rows are the examples given, each once."""
    problem, examples = regression
    targets = [
        np.asarray(problem.data.examples["target"][worker, :size])
        for worker, size in enumerate(problem.data.sizes.tolist())
    ]
    assert_array_equal(np.sort(np.concatenate(targets)), np.sort(examples["target"]))


def test_without_held_out_examples_there_is_nothing_to_evaluate(regression):
    """`evaluate` of a problem that has only training examples is {}."""
    assert regression[0].evaluate(jnp.zeros(2)) == {}


def test_a_loss_that_draws_trains_with_its_own_keys_and_is_measured_without(key):
    """With `takes_key` gradients on equal examples differ between keys, and the objective is that of `measure`."""

    def noisy(params, batch, key):
        return jnp.mean(batch) * params + params * jax.random.normal(key)

    def exact(params, batch):
        return {"loss": batch * params}

    build = {"init": lambda _: jnp.ones(()), "loss": noisy, "examples": np.ones(4), "num_workers": 2}
    problem = supervised.build(takes_key=True, measure=exact, batch_size=2, **build)
    keys, workers = jax.random.split(key, 2), jnp.arange(2, dtype=jnp.int32)
    _, grads = jax.jit(problem.oracle)(keys, jnp.ones(2), problem.data, workers)
    assert grads[0] != grads[1]
    assert problem.objective(jnp.array(3.0), problem.data) == 3.0
    with pytest.raises(ValueError, match="measure = None with takes_key"):
        supervised.build(takes_key=True, batch_size=2, **build)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dataset": CIFAR, "examples": np.ones(4)}, "one of the two"),
        ({}, "one of the two"),
        ({"examples": np.ones(9), "batch_size": 5}, r"batch_size = 5 is out of range.*\[1, 4\]"),
        ({"examples": np.ones(9), "batch_size": 4, "block_size": 0}, "block_size = 0"),
        ({"examples": np.ones(1), "batch_size": 1}, "num_workers = 2"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    """An error says which argument was wrong and what it may be."""
    with pytest.raises(ValueError, match=message):
        supervised.build(init=jnp.zeros, loss=squared_error, num_workers=2, **wrong)


# the registry


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "wide_resnet", "transformer"])
def test_every_model_builds_on_defaults(name):
    """With the number of workers alone there is a problem whose parts fit each other (shapes, nothing is run)."""
    problem = problems.problem(name).build(num_workers=2)
    keys = jax.random.split(jax.random.key(0), 2)
    params = jax.eval_shape(problem.init, keys[0])
    views = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), params)
    losses, grads = jax.eval_shape(problem.oracle, keys, views, problem.data, jnp.arange(2, dtype=jnp.int32))
    assert losses.shape == (2,)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), grads) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), views
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    assert set(jax.eval_shape(problem.evaluate, params)) == {"test_loss", "test_accuracy"}
    assert jax.eval_shape(problem.objective, params, problem.data).shape == ()


# architectures


@pytest.mark.parametrize(
    ("depth", "published", "exact"), [(20, "0.27", 269722), (32, "0.46", 464154), (56, "0.85", 853018)]
)
def test_resnets_have_the_published_number_of_parameters(depth, published, exact):
    """He et al., arXiv 1512.03385, Table 6, in millions; and exactly, added by hand (no shortcut has any)."""
    blocks = (depth - 2) // 6
    by_hand = 9 * 3 * 16 + 2 * 16 + 64 * 10 + 10
    for channels_in, channels in [(16, 16), (16, 32), (32, 64)]:
        by_hand += 9 * channels * (channels_in + (2 * blocks - 1) * channels) + 2 * blocks * 2 * channels
    count = num_parameters(resnet.build(num_workers=1, dataset=CIFAR, batch_size=1, depth=depth))
    assert count == by_hand == exact
    assert f"{count / 1e6:.2f}" == published


@pytest.mark.parametrize(("depth", "widen_factor", "published"), [(28, 10, "36.5"), (16, 8, "11.0"), (40, 1, "0.6")])
def test_wide_resnets_have_the_published_number_of_parameters(depth, widen_factor, published):
    """Zagoruyko and Komodakis, arXiv 1605.07146, Tables 4 and 5, in millions; by shapes alone."""
    problem = wide_resnet.build(
        num_workers=1, dataset=CIFAR, batch_size=1, depth=depth, widen_factor=widen_factor, norm="batch"
    )
    assert f"{num_parameters(problem) / 1e6:.1f}" == published


@pytest.mark.parametrize("norm", normalization.KINDS)
@pytest.mark.parametrize(
    "module",
    [
        cnn.CNN((4, 6, 8), 7, "none"),
        resnet.ResNet(8, 7, "none", 4),
        wide_resnet.WideResNet(10, 1, 7, "none"),
        mlp.MLP((5,), 7),
    ],
)
def test_models_give_a_logit_for_each_class(module, norm):
    """[b, 9, 9, 2] -> [b, num_classes], sides that no stride divides included."""
    module = module.clone(norm=norm) if hasattr(module, "norm") else module
    inputs = jax.ShapeDtypeStruct((3, 9, 9, 2), jnp.float32)
    logits, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), inputs)
    assert logits.shape == (3, 7)
    assert ("batch_stats" in variables) == (norm == "batch" and hasattr(module, "norm"))


def test_a_residual_block_without_its_convolutions_is_its_shortcut(key):
    """With zero kernels, option A: every other pixel, and zeros for the new channels."""
    block = resnet.Block(channels=5, stride=2, norm="none")
    inputs = jax.random.uniform(key, (2, 6, 6, 3), jnp.float32)
    params = jax.eval_shape(block.init, key, inputs)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    outputs = jax.jit(block.apply)(params, inputs)
    assert_array_equal(outputs[..., :3], inputs[:, ::2, ::2])
    assert_array_equal(outputs[..., 3:], 0)


@pytest.mark.parametrize(
    ("build", "wrong", "message"),
    [
        (resnet.build, {"depth": 21}, "depth = 21 .* 6 k"),
        (wide_resnet.build, {"depth": 20}, "depth = 20 .* 6 j"),
        (cnn.build, {"norm": "grup"}, "did you mean 'group'"),
        (mlp.build, {"widths": (3, 0)}, r"widths\[1\] = 0"),
        (mlp.build, {"dataset": CIFAR._replace(num_classes=0)}, "num_classes = 0"),
        (transformer.build, {"width": 10, "num_heads": 4}, "multiple of num_heads = 4"),
        (transformer.build, {"dataset": CIFAR}, "train_inputs has shape"),
        (transformer.build, {"dataset": sequences.copying()._replace(num_classes=5)}, "num_classes = 5"),
        (transformer.build, {"label_smoothing": 1.5}, "label_smoothing = 1.5"),
    ],
)
def test_wrong_sizes_are_named(build, wrong, message):
    """A size that the architecture does not have is an error that says which sizes it has."""
    with pytest.raises(ValueError, match=message):
        build(num_workers=2, **wrong)


# classification


def test_images_stay_bytes_on_the_device_and_are_normalised_by_channel(digits):
    """uint8 in the shards; over the training set each normalised channel has mean 0, standard deviation 1."""
    grey = (16 * digits.train_inputs).astype(np.uint8)
    images = np.concatenate([grey, 2 * grey + 1], axis=-1)
    problem = mlp.build(num_workers=2, dataset=digits._replace(train_inputs=images), widths=())
    assert problem.data.examples[0].dtype == np.uint8
    mean, std = classification.channel_moments(images)
    normal = (images.astype(np.float64) - mean) / std
    assert_allclose(normal.mean((0, 1, 2)), 0, atol=1e-6)
    assert_allclose(normal.std((0, 1, 2)), 1, rtol=1e-6)
    params = jax.tree.map(jnp.zeros_like, problem.init(jax.random.key(0)))
    params["Dense_0"]["kernel"] = jnp.ones_like(params["Dense_0"]["kernel"]).at[:, 1:].set(0)
    logits = np.zeros((len(images), 10))
    logits[:, 0] = normal.sum((1, 2, 3))
    by_hand = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(images)), digits.train_targets]
    sizes = np.asarray(problem.data.sizes)
    assert sorted(sizes.tolist()) == [150, 151]
    whole = supervised.evaluate(
        params,
        examples=(images, digits.train_targets),
        measure=problem.objective.keywords["measure"],
        prepare=problem.objective.keywords["prepare"],
    )
    assert_allclose(whole["test_loss"], by_hand.mean(), rtol=1e-4)
    assert_allclose(whole["test_accuracy"], np.mean(logits.argmax(1) == digits.train_targets))


def test_a_constant_channel_is_not_divided_by_zero():
    """Its standard deviation counts as 1."""
    mean, std = classification.channel_moments(np.full((3, 2, 2, 1), 7, np.uint8))
    assert (mean.tolist(), std.tolist()) == ([7.0], [1.0])


@pytest.mark.parametrize("build", [partial(mlp.build, widths=(32,)), partial(cnn.build, channels=(4, 8))])
def test_a_few_steps_of_synchronous_sgd_reduce_the_loss(build, digits, key):
    """Thirty steps of two workers more than halve f, and accuracy on the test set passes one in two."""
    problem = build(num_workers=2, dataset=digits, batch_size=32)
    algorithm = synchronous_sgd.build(problem.oracle, num_workers=2, step_size=0.2)
    state = algorithm.init(key, problem.init(key))
    before = problem.objective(state.params, problem.data)
    step = jax.jit(algorithm.step)
    for t in range(30):
        state, _ = step(base.step_key(key, t), state, problem.data)
    assert problem.objective(state.params, problem.data) < 0.5 * before
    assert problem.evaluate(state.params)["test_accuracy"] > 0.5


@pytest.fixture(scope="module")
def group_normalised(digits):
    """A convolutional network that normalises groups, in float32, on shards of different sizes."""
    problem = cnn.build(num_workers=4, dataset=digits, channels=(4, 8), norm="group")
    return problem, problem.init(jax.random.key(1))


def test_models_compute_in_the_dtype_of_their_parameters(group_normalised):
    """float64 parameters give a float64 objective and gradient, equal to the float32 ones up to rounding."""
    problem, params = group_normalised
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    keys, workers = jax.random.split(jax.random.key(0), 4), jnp.arange(4, dtype=jnp.int32)
    losses, grads = jax.eval_shape(problem.oracle, keys, stacked.broadcast(wide, 4), problem.data, workers)
    assert {leaf.dtype for leaf in jax.tree.leaves((losses, grads))} == {np.dtype(np.float64)}
    exact = problem.objective(wide, problem.data)
    assert exact.dtype == jnp.float64
    assert_allclose(problem.objective(params, problem.data), exact, rtol=1e-5)


def test_the_objective_does_not_depend_on_blocks_nor_on_devices(group_normalised):
    """In blocks of 7 examples of a worker or all, and with shards on four devices: equal up to rounding."""
    problem, params = group_normalised
    whole = problem.objective(params, problem.data)
    assert_allclose(problem.objective(params, problem.data, block_size=28), whole, rtol=1e-6)
    mesh = devices.make_mesh(4)
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names[0]))
    assert_allclose(problem.objective(params, jax.device_put(problem.data, rows)), whole, rtol=1e-6)


# batch normalisation


class OnlyNorm(nn.Module):
    """A scale and batch normalisation: its statistics can be worked out by hand."""

    @nn.compact
    def __call__(self, inputs):
        scale = self.param("scale", nn.initializers.ones, (1,))
        return normalization.Norm("batch")(scale[None] * inputs)


def test_batch_statistics_are_those_of_all_examples_together(key):
    """Mean and variance over equal batches are those of their union: the variance between batches counts."""
    batches = jax.random.normal(key, (3, 8, 2)) + jnp.arange(3.0)[:, None, None]
    params = {
        "scale": jnp.array([2.0]),
        "Norm_0": {"BatchNorm_0": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}},
    }
    found = normalization.batch_statistics(OnlyNorm(), params, batches)["Norm_0"]["BatchNorm_0"]
    every = 2 * np.asarray(batches).reshape(-1, 2)
    assert_allclose(found["mean"], every.mean(0), rtol=1e-12)
    assert_allclose(found["var"], every.var(0), rtol=1e-12)
    within = 4 * np.asarray(batches).var(1).mean(0)
    assert np.all(found["var"] > within + 1)  # the mean of the variances is not the variance


@pytest.fixture(scope="module")
def batch_normalised(digits):
    """A convolutional network that normalises over the batch, with float64 parameters."""
    problem = cnn.build(num_workers=2, dataset=digits, channels=(4, 8), norm="batch", num_calibration=100)
    params = problem.init(jax.random.key(2))
    return problem, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)


def test_parameters_hold_no_batch_statistics(batch_normalised):
    """What workers exchange is scales and biases; a running average is nowhere."""
    paths = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(batch_normalised[1])}
    assert not [path for path in paths if "mean" in path or "var" in path]
    assert any("BatchNorm" in path for path in paths)


def with_statistics_of(params, calibration, *, old, problem):
    """A planted bug: batch statistics of other parameters than those that are evaluated."""
    return problem.objective.keywords["prepare"](old, calibration) | {"params": params}


def test_evaluation_takes_the_batch_statistics_anew_for_the_parameters_it_is_given(batch_normalised):
    """A scaled kernel before a batch normalisation changes nothing, unless the statistics are old ones."""
    problem, params = batch_normalised
    larger = jax.tree.map(jnp.copy, params)
    larger["Conv_0"]["kernel"] = 10 * params["Conv_0"]["kernel"]
    before = problem.objective(params, problem.data)
    assert_allclose(problem.objective(larger, problem.data), before, rtol=1e-4)
    assert before == problem.objective(params, problem.data)

    stale = problem.objective(larger, problem.data, prepare=partial(with_statistics_of, old=params, problem=problem))
    assert abs(stale - before) > 0.1


def test_training_uses_the_statistics_of_the_batch_and_evaluation_does_not(batch_normalised):
    """Of four groups of examples, two exchange neighbours: the sum of the losses stays in evaluation alone."""
    problem, params = batch_normalised
    bound = problem.objective.keywords
    variables = jax.jit(bound["prepare"])(params, bound["calibration"])

    @jax.jit
    def losses(first, second):
        groups = problem.data.examples[0][0, :16].reshape(4, 4, 8, 8, 1), problem.data.examples[1][0, :16].reshape(4, 4)
        batch = jax.tree.map(lambda leaf: jnp.concatenate([leaf[first], leaf[second]]), groups)
        trained = classification.loss(params, batch, **bound["measure"].keywords)
        return jnp.stack([trained, jnp.mean(bound["measure"](variables, batch)["loss"])])

    trained, evaluated = losses(0, 1) + losses(2, 3) - losses(0, 2) - losses(1, 3)
    assert abs(evaluated) < 1e-12
    assert abs(trained) > 1e-3


# sequences and the transformer


def test_tasks_copy_and_reverse():
    """A target is its source, forwards or backwards, then END, then padding."""
    for task, direction in [(sequences.copying(num_train=20), 1), (sequences.reversal(num_train=20), -1)]:
        assert task.train_inputs.dtype == task.train_targets.dtype == np.int32
        assert len(set(sequences.lengths(task.train_inputs))) > 1
        for source, target in zip(task.train_inputs, task.train_targets, strict=True):
            words = source[source != PADDING]
            assert words.min() >= FIRST_WORD
            assert target.tolist() == [*words[::direction], END, *[PADDING] * (8 - len(words))]


@pytest.fixture(scope="module")
def translation():
    """A transformer with random float64 parameters, and sentences of several lengths."""
    dataset = sequences.reversal(num_words=5, max_length=6, num_train=23, num_test=12)
    problem = transformer.build(
        num_workers=2,
        dataset=dataset,
        batch_size=4,
        width=8,
        num_heads=2,
        num_layers=1,
        hidden_width=8,
        is_tied=False,
        label_smoothing=0.1,
    )
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), problem.init(jax.random.key(3)))
    return problem, params, problem.init.keywords["module"], dataset


@partial(jax.jit, static_argnums=3)
def logits_of(params, sources, targets, module):
    return flax_modules.apply(module, {"params": params}, sources, targets)


class Leaky(transformer.Transformer):
    """A planted bug: the decoder reads the very tokens it is to predict."""

    def __call__(self, sources, targets):
        return self.decode(self.encode(sources), sources, targets)


def sees_ahead(module, params, sources, targets):
    """Whether the logits of any token change with that token or a later one."""
    before = logits_of(params, sources, targets, module)
    places = range(targets.shape[1])
    changed = [logits_of(params, sources, targets.at[:, place].set(FIRST_WORD), module) for place in places]
    assert any(jnp.any(after != before) for after in changed[:-1])  # the past does matter
    return any(bool(jnp.any(after[:, : place + 1] != before[:, : place + 1])) for place, after in enumerate(changed))


def test_the_decoder_sees_the_past_only(translation):
    """No logit depends on its own token or a later one, bit for bit; a decoder that reads them is caught."""
    _, params, module, dataset = translation
    sources, targets = jnp.asarray(dataset.test_inputs), jnp.asarray(dataset.test_targets)
    assert not sees_ahead(module, params, sources, targets)
    assert sees_ahead(Leaky(**sizes(module)), params, sources, targets)


def sizes(module):
    return {
        name: getattr(module, name)
        for name in ("num_tokens", "width", "num_heads", "num_layers", "hidden_width", "is_tied")
    }


class Unmasked(transformer.Transformer):
    """A planted bug: padding of the source is attended to like a word."""

    def encode(self, sources):
        hidden = self._embed(sources)
        for layer in self.encoder:
            hidden = layer(hidden, jnp.ones((1, 1, 1, 1), bool))
        return self.encoder_norm(hidden)


def test_padding_does_not_change_the_loss(translation):
    """Three more columns of padding leave every loss as it is; where padding is attended to, they do not."""
    problem, params, module, dataset = translation
    batch = (jnp.asarray(dataset.test_inputs), jnp.asarray(dataset.test_targets))
    wider = tuple(jnp.pad(rows, [(0, 0), (0, 3)], constant_values=PADDING) for rows in batch)
    bound = problem.objective.keywords["measure"].keywords
    measure = jax.jit(transformer.measure, static_argnames=tuple(bound))
    values, of_wider = (measure(params, rows, **bound) for rows in (batch, wider))
    assert_allclose(of_wider["loss"], values["loss"], rtol=1e-12)
    assert_array_equal(of_wider["accuracy"], values["accuracy"])
    planted = bound | {"module": Unmasked(**sizes(module))}
    apart = measure(params, wider, **planted)["loss"] - measure(params, batch, **planted)["loss"]
    assert jnp.max(jnp.abs(apart)) > 1e-4


def test_the_loss_is_the_smoothed_cross_entropy_of_a_token(translation):
    """The objective is the mean over workers of (sum over tokens)/(m_i c), on the test set the mean over tokens."""
    problem, params, module, dataset = translation

    def token_losses(sources, targets):
        logits = np.asarray(logits_of(params, sources, targets, module))
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        smoothed = 0.9 * np.eye(dataset.num_classes)[targets] + 0.1 / dataset.num_classes
        is_right = logits.argmax(-1) == targets
        return -(smoothed * logs).sum(-1)[targets != PADDING], is_right[targets != PADDING]

    losses, is_right = token_losses(dataset.test_inputs, dataset.test_targets)
    values = problem.evaluate(params)
    assert_allclose(values["test_loss"], losses.mean(), rtol=1e-9)
    assert_allclose(values["test_accuracy"], is_right.mean(), rtol=1e-9)
    of_workers = []
    tokens = (dataset.train_targets != PADDING).sum(1).mean()
    for worker, size in enumerate(problem.data.sizes.tolist()):
        sources, targets = (np.array(leaf[worker]) for leaf in problem.data.examples)
        targets[size:] = PADDING  # has no loss: the rows that fill up the shorter shard
        of_workers.append(token_losses(sources, targets)[0].sum() / (size * tokens))
    assert_allclose(problem.objective(params, problem.data), np.mean(of_workers), rtol=1e-9)


def test_decoding_is_greedy_and_stops_at_the_end(translation):
    """Each token written is the most likely word or END after those before it; after END there is only padding."""
    _, params, module, dataset = translation
    written = np.asarray(transformer.translate(params, dataset.test_inputs, module=module, max_length=7))
    logits = np.array(logits_of(params, dataset.test_inputs, written, module))
    logits[..., [PADDING, transformer.START]] = -np.inf
    stops = [np.append(np.flatnonzero(row == END), 6)[0] + 1 for row in written]
    assert min(stops) < 7
    for row, best, stop in zip(written, logits.argmax(-1), stops, strict=True):
        assert_array_equal(row[:stop], best[:stop])
        assert_array_equal(row[stop:], PADDING)


def test_tied_embeddings_are_one_matrix(translation):
    """Tied, the model has no last layer of its own: V · width parameters fewer."""
    dataset = translation[3]
    counts = [
        num_parameters(transformer.build(num_workers=2, dataset=dataset, batch_size=4, width=8, is_tied=is_tied))
        for is_tied in (True, False)
    ]
    assert counts[1] - counts[0] == dataset.num_classes * 8


def test_positions_are_the_published_sinusoids():
    """ArXiv 1706.03762, section 3.5, entry by entry, for an odd width too."""
    table = transformer.positions(4, 5)
    assert table.shape == (4, 5)
    for t in range(4):
        for column in range(5):
            angle = t / 10000 ** ((column - column % 2) / 5)
            assert_allclose(table[t, column], np.cos(angle) if column % 2 else np.sin(angle), atol=1e-15)
