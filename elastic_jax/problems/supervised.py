"""Supervised learning: a loss, a starting point and examples become a `base.Problem`.

    f(x) = (1/n) Σ_i f_i(x),    f_i(x) = (1/m_i) Σ_j loss(x, ξ_ij)

over the m_i examples ξ_ij of worker i. The stochastic gradient of worker i is that of the mean loss over a
mini-batch, drawn with replacement from its own examples; it is unbiased for ∇f_i where the loss of an example
does not depend on the others of its batch. `objective` sums over every real example, in blocks, so that
memory stays bounded.

This is where a user's own model enters, in three lines: an `init`, a `loss`, `build`. Nothing about it need
be flax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import arguments, base, convolutions, data, oracles
from elastic_jax.base import Params, PyTree
from elastic_jax.data import splits

Measure = Callable[[Any, PyTree], Mapping[str, Array]]
"""`measure(params, batch) -> {name: float[b]}`: values of each example of a batch; "loss" is one of them."""


def objective(
    params: Params,
    shards: base.Shards,
    *,
    measure: Measure,
    prepare: Callable[[Params, PyTree], Any] | None = None,
    calibration: PyTree = (),
    block_size: int = 256,
) -> Array:
    """f(params): the mean over workers of the mean loss over each worker's real examples, float[]."""
    return _objective(params, shards, calibration, measure=measure, prepare=prepare, block_size=block_size)


def evaluate(
    params: Params,
    *,
    examples: PyTree,
    measure: Measure,
    prepare: Callable[[Params, PyTree], Any] | None = None,
    calibration: PyTree = (),
    block_size: int = 256,
) -> dict[str, Array]:
    """The mean of each measured value over held-out `examples` [m, ...]: {"test_" + name: float[]}."""
    return _evaluate(params, examples, calibration, measure=measure, prepare=prepare, block_size=block_size)


def build(
    *,
    init: Callable[[Array], Params],
    loss: Callable[..., Array],
    num_workers: int,
    dataset: data.Dataset | None = None,
    examples: PyTree = None,
    test_examples: PyTree = None,
    labels: Any = None,
    takes_key: bool = False,
    measure: Measure | None = None,
    test_measure: Measure | None = None,
    prepare: Callable[[Params, PyTree], Any] | None = None,
    calibration: PyTree = (),
    constants: base.Constants | None = None,
    batch_size: int = 32,
    block_size: int = 256,
    split: str = "iid",
    alpha: float | None = None,
    seed: int = 0,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> base.Problem:
    """A problem from a loss of one worker and a data set.

    Args:
        init: `init(key) -> params`, a starting point.
        loss: `loss(params, batch) -> float[]`, the mean loss over a batch (leaves [b, ...]); with
            `takes_key`, `loss(params, batch, key)`. Pure and differentiable.
        num_workers: n >= 1.
        dataset: its pairs (inputs, targets) are the examples, those of its test part the held-out ones, and
            its training targets the labels.
        examples: instead of `dataset`: any tree of arrays [m, ...] with the m examples first to last.
        test_examples: held-out examples of the same kind; without them `evaluate` returns {}.
        labels: int[m], what the splits "by_label" and "dirichlet" go by; default the targets of `dataset`.
        takes_key: the loss draws random numbers (dropout, augmentation). Then `measure` is required, since
            such a loss has no exact value.
        measure: values of each example, see `Measure`; its "loss" makes the objective. Default: the loss of
            each example as a batch of its own.
        test_measure: what `evaluate` measures instead of `measure`.
        prepare: `prepare(params, calibration)` makes what `measure` takes in the place of `params`, once for
            each pass over the data; for statistics of the data that a model needs at evaluation.
        calibration: the examples that `prepare` is given.
        constants: what is known of f; default nothing.
        batch_size: in [1, m/n], examples of a mini-batch of one worker; no split makes a shard smaller.
        block_size: >= 1, examples measured at once by `objective` and `evaluate`; bounds their memory.
        split: how `data.shard` splits the examples: "iid", "by_label" or "dirichlet".
        alpha: > 0, concentration of the Dirichlet split.
        seed: of the split.
        strategy: how the oracle evaluates the workers, see `oracles.from_loss`.
        chunk: see `oracles.from_loss`.
        mesh: devices to spread the workers over, see `oracles.from_loss`.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        A line through eight points, by two workers, in three lines:

        >>> import jax, jax.numpy as jnp
        >>> from elastic_jax.algorithms import synchronous_sgd
        >>> from elastic_jax.problems import supervised
        >>> inputs = jnp.arange(8.0)
        >>> def loss(slope, batch):
        ...     return jnp.mean((slope * batch["input"] - batch["target"]) ** 2)
        >>> problem = supervised.build(init=lambda key: jnp.zeros(()), loss=loss, num_workers=2,
        ...     batch_size=4, examples={"input": inputs, "target": 3 * inputs})

        and it trains with any algorithm:

        >>> algorithm = synchronous_sgd.build(problem.oracle, num_workers=2, step_size=0.01)
        >>> state = algorithm.init(jax.random.key(0), problem.init(jax.random.key(0)))
        >>> print(problem.objective(algorithm.global_params(state), problem.data))
        157.5
        >>> for t in range(50):
        ...     state, info = algorithm.step(jax.random.key(t), state, problem.data)
        >>> print(f"{algorithm.global_params(state):.3f}")
        3.000
    """
    num_workers = arguments.integer("num_workers", num_workers, low=1)
    block_size = arguments.integer("block_size", block_size, low=1)
    arguments.function("init", init, "init(key) -> params")
    arguments.function("loss", loss, "loss(params, batch) -> float[]")
    if (dataset is None) == (examples is None):
        raise ValueError("dataset and examples: one of the two must be given, and only one")
    if dataset is not None:
        data.check(dataset)
        examples = (dataset.train_inputs, dataset.train_targets)
        if test_examples is None:
            test_examples = (dataset.test_inputs, dataset.test_targets)
        labels = dataset.train_targets if labels is None else labels
    for name, function, hint in (
        ("measure", measure, "measure(params, batch) -> {name: float[b]}"),
        ("test_measure", test_measure, "measure(params, batch) -> {name: float[b]}"),
        ("prepare", prepare, "prepare(params, calibration) -> what measure takes"),
    ):
        if function is not None:
            arguments.function(name, function, hint)
    constants = base.Constants() if constants is None else constants
    arguments.instance("constants", constants, base.Constants, "e.g. base.Constants(smoothness=1.0)")
    if measure is None and arguments.flag("takes_key", takes_key):
        raise ValueError(
            "measure = None with takes_key = True; a loss that draws has no exact value: give "
            "measure(params, batch) -> {'loss': float[b]}"
        )
    measure = partial(_losses_alone, loss=loss) if measure is None else measure
    examples = on_host("examples", examples)
    batch_size = data.check_batch_size(batch_size, splits.count(examples), num_workers)
    shards = data.shard(
        examples,
        num_workers=num_workers,
        split=split,
        labels=labels,
        alpha=alpha,
        seed=seed,
        min_size=batch_size,
    )
    bound = {"prepare": prepare, "calibration": on_device("calibration", calibration), "block_size": block_size}
    held_out = _nothing
    if test_examples is not None:
        held_out = partial(
            evaluate, examples=on_device("test_examples", test_examples), measure=test_measure or measure, **bound
        )
    return base.Problem(
        oracle=oracles.from_loss(
            loss, batch_size=batch_size, takes_key=takes_key, strategy=strategy, chunk=chunk, mesh=mesh
        ),
        init=init,
        data=shards,
        objective=partial(objective, measure=measure, **bound),
        evaluate=held_out,
        constants=constants,
        num_workers=num_workers,
    )


def on_host(name: str, examples: PyTree) -> PyTree:
    """`examples`, called `name`, as numpy arrays; integers of 64 bits become int32 (class numbers, tokens)."""

    def of_leaf(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        if array.dtype not in (np.int64, np.uint64):
            return array
        if array.size and (array.min() < -(2**31) or array.max() >= 2**31):
            raise ValueError(f"{name} has integers from {array.min()} to {array.max()}; they must fit into int32")
        return array.astype(np.int32)

    return jax.tree.map(of_leaf, arguments.arrays(name, examples))


def on_device(name: str, examples: PyTree) -> PyTree:
    """`on_host(name, examples)` as JAX arrays."""
    return jax.tree.map(jnp.asarray, on_host(name, examples))


@partial(jax.jit, static_argnames=("measure", "prepare", "block_size"))
def _objective(
    params: Params,
    shards: base.Shards,
    calibration: PyTree,
    *,
    measure: Measure,
    prepare: Any,
    block_size: int,
) -> Array:
    prepared = params if prepare is None else prepare(params, calibration)
    losses = _values(prepared, shards.examples, measure=measure, block_size=block_size)["loss"]
    is_real = jnp.arange(losses.shape[1], dtype=jnp.int32)[None] < shards.sizes[:, None]
    totals = jnp.sum(jnp.where(is_real, losses, 0), axis=1)
    return jnp.mean(totals / shards.sizes.astype(totals.dtype))


@partial(jax.jit, static_argnames=("measure", "prepare", "block_size"))
def _evaluate(
    params: Params, examples: PyTree, calibration: PyTree, *, measure: Measure, prepare: Any, block_size: int
) -> dict[str, Array]:
    prepared = params if prepare is None else prepare(params, calibration)
    rows = jax.tree.map(lambda leaf: leaf[None], examples)
    values = _values(prepared, rows, measure=measure, block_size=block_size)
    return {f"test_{name}": jnp.mean(value) for name, value in values.items()}


def _values(prepared: Any, rows: PyTree, *, measure: Measure, block_size: int) -> dict[str, Array]:
    """`measure` of every example of `rows` [n, m, ...], a block of each at a time: {name: float[n, m]}."""
    n, m = jax.tree.leaves(rows)[0].shape[:2]
    width = max(1, min(m, block_size // n))

    def of_block(start: Array) -> dict[str, Array]:
        # the last block repeats the last column: what is measured twice is cut off below
        columns = jnp.minimum(start + jnp.arange(width, dtype=jnp.int32), m - 1)
        block = jax.tree.map(
            lambda leaf: leaf.at[:, columns].get(mode="promise_in_bounds").reshape(-1, *leaf.shape[2:]), rows
        )
        # in a loop, on a CPU, a convolution that is not channels-last would be slow
        values = convolutions.canonicalize(measure)(prepared, block)
        return {name: value.reshape(n, width) for name, value in values.items()}

    blocks = lax.map(of_block, jnp.arange(0, m, width, dtype=jnp.int32))
    return {name: jnp.moveaxis(value, 0, 1).reshape(n, -1)[:, :m] for name, value in blocks.items()}


def _losses_alone(params: Params, batch: PyTree, *, loss: Callable[..., Array]) -> dict[str, Array]:
    """The loss of each example as a batch of its own."""

    def of_one(example: PyTree) -> Array:
        return loss(params, jax.tree.map(lambda leaf: leaf[None], example))

    return {"loss": jax.vmap(of_one)(batch)}


def _nothing(params: Params) -> dict[str, Array]:
    """No held-out examples, nothing to evaluate."""
    del params
    return {}
