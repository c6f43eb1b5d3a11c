"""Stacked oracles: k stochastic gradients, for the workers named, at their own views.

An oracle is made from a function of *one* worker, a loss or a gradient:

    batch = draw(key, data, worker)             a mini-batch of the worker's own shard, or its row of the data
    loss, grad = value_and_grad(view, batch)    one worker, no worker axis

How the stack is then evaluated (`strategy`, `chunk`, `mesh`; see `strategies`) never shows in an algorithm,
and changes the results by no more than rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from elastic_jax import arguments, devices, stacked
from elastic_jax.base import Oracle, Params, PyTree
from elastic_jax.oracles import batches, one_worker, strategies


def from_loss(
    loss: Callable[..., Array],
    *,
    batch_size: int | None = None,
    takes_key: bool = False,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> Oracle:
    """An oracle from the loss of one worker, which is differentiated with respect to its first argument.

    Args:
        loss: `loss(params, batch) -> float[]`, or `loss(params, batch, key)` with `takes_key`: of one worker,
            params [...], no worker axis.
        batch_size: examples in a worker's mini-batch, drawn uniformly and with replacement from its own
            shard; the `data` of a step is then a `base.Shards`, and batch its examples [batch_size, ...].
            None: batch is the worker's row of `data`, whose leaves are [n, ...].
        takes_key: the function draws randomness of its own (noise, dropout). It is given the worker's key as
            it is, or, with a `batch_size`, a key independent of the one that drew the batch.
        strategy: how the k workers are evaluated: "vmap", "unrolled" (one after the other, in one program),
            "map" (one after the other, in a loop), "pmap" (spread over the local devices; under `jax.jit`
            only), or "auto", which `strategies.resolve` decides from k, the backend and the function.
        chunk: evaluate the workers in groups of so many, >= 1, one group after the other, to save memory; the
            last group is smaller where k is no multiple. Not with strategy "map", whose groups are of one.
        mesh: of `devices.make_mesh`. When all n workers are active each device draws and evaluates for its
            own workers, `strategy` on each. When k < n are, each evaluates k / devices of them on batches that it is
            sent, and where the devices do not divide k the mesh is not used. Not with strategy "pmap".

    Raises:
        TypeError, ValueError: naming the argument, its value and its range. Where they concern the data (a
            batch larger than the smallest shard, n no multiple of the devices) or what the function returns, when
            the oracle is called: while tracing, before anything is compiled.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> oracle = from_loss(lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
        >>> keys, workers = jax.random.split(jax.random.key(0), 2), jnp.arange(2)
        >>> oracle(keys, jnp.zeros((2, 1)), jnp.array([[1.0], [3.0]]), workers)[1].tolist()
        [[-1.0], [-3.0]]
    """
    arguments.function("loss", loss, "(params, batch) -> float[]")
    return _build(partial(one_worker.from_loss, loss=loss), batch_size, takes_key, strategy, chunk, mesh)


def from_value_and_grad(
    value_and_grad: Callable[..., tuple[Array, Params]],
    *,
    batch_size: int | None = None,
    takes_key: bool = False,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> Oracle:
    """An oracle from the loss and the gradient of one worker.

    Args:
        value_and_grad: `value_and_grad(params, batch) -> (float[], [...])`, or `(params, batch, key)`.
        batch_size: as in `from_loss`, like all that follow.
        takes_key: the function takes a key.
        strategy: how the workers are evaluated.
        chunk: workers evaluated at a time.
        mesh: devices over which the workers are split.

    Raises:
        TypeError, ValueError: as `from_loss`.
    """
    arguments.function("value_and_grad", value_and_grad, "(params, batch) -> (loss, grad)")
    checked = partial(one_worker.from_value_and_grad, value_and_grad=value_and_grad)
    return _build(checked, batch_size, takes_key, strategy, chunk, mesh)


def from_grad(
    grad: Callable[..., Params],
    *,
    batch_size: int | None = None,
    takes_key: bool = False,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> Oracle:
    """An oracle from the gradient of one worker; its losses are 0, or NaN where the gradient is not finite.

    Args:
        grad: `grad(params, batch) -> [...]`, or `grad(params, batch, key)`.
        batch_size: as in `from_loss`, like all that follow.
        takes_key: the function takes a key.
        strategy: how the workers are evaluated.
        chunk: workers evaluated at a time.
        mesh: devices over which the workers are split.

    Raises:
        TypeError, ValueError: as `from_loss`.
    """
    arguments.function("grad", grad, "(params, batch) -> gradient")
    return _build(partial(one_worker.from_grad, grad=grad), batch_size, takes_key, strategy, chunk, mesh)


def check_data(oracle: Any, data: PyTree, num_workers: int) -> None:
    """Raise unless an oracle of this module can draw from `data`; any other knows by itself what it takes.

    Args:
        oracle: any oracle.
        data: what the step is given, on the device.
        num_workers: n >= 1, the workers there are, of whom an oracle sees only those that are active.

    Raises:
        TypeError, ValueError: leaves that are not [n, ...], no `base.Shards`, a batch larger than the smallest shard.
    """
    if _is_ours(oracle):
        num_workers = arguments.integer("num_workers", num_workers, low=1)
        batches.check(data, batch_size=oracle.keywords["batch_size"], num_workers=num_workers)


class Choice(NamedTuple):
    """How an oracle evaluates k workers: plain data, for the record of a run."""

    strategy: str
    """"vmap", "unrolled" or "map": on one device, or on each."""
    num_groups: int
    """Groups of workers evaluated one after the other, on each device."""
    spread: str | None
    """"shard_map" or "pmap" where the workers are spread over devices."""
    num_devices: int
    rewrites_convolutions: bool
    """Whether `convolutions.canonicalize` has something to do."""


def chosen_strategy(oracle: Oracle, views: PyTree, data: PyTree) -> Choice | None:
    """How an oracle will evaluate the stack, "auto" decided; None for an oracle not made by this module.

    Args:
        oracle: of `from_loss`, `from_value_and_grad` or `from_grad`.
        views: [k, ...]; only shapes and dtypes matter, so the `Info.views` of `jax.eval_shape(step, ...)`
            will do.
        data: what the step is given; again only shapes and dtypes matter.
    """
    if not _is_ours(oracle):
        return None
    bound = oracle.keywords
    k = stacked.num_rows(arguments.arrays("views", views))
    num_devices = _num_devices(k, data, bound["strategy"], bound["mesh"])
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), k))
    workers = jax.ShapeDtypeStruct((k,), jnp.int32)
    draw = partial(batches.draw, batch_size=bound["batch_size"], takes_key=bound["takes_key"])
    rows = (views, *jax.eval_shape(draw, keys, data, workers))
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((k // num_devices, *leaf.shape[1:]), leaf.dtype), rows)
    is_spread = num_devices > 1
    chosen = strategies.resolve(
        bound["value_and_grad"], rows, strategy=bound["strategy"], chunk=bound["chunk"], is_spread=is_spread
    )
    return Choice(
        strategy=chosen.mapping,
        num_groups=-(-(k // num_devices) // (chosen.chunk or k)),
        spread=("pmap" if bound["strategy"] == "pmap" else "shard_map") if is_spread else None,
        num_devices=num_devices,
        rewrites_convolutions=chosen.rewrites_convolutions,
    )


def _build(
    value_and_grad: Callable[..., tuple[Array, Params]],
    batch_size: int | None,
    takes_key: bool,
    strategy: str,
    chunk: int | None,
    mesh: Mesh | None,
) -> Oracle:
    arguments.one_of("strategy", strategy, strategies.STRATEGIES)
    if chunk is not None:
        arguments.integer("chunk", chunk, low=1)
        if strategy == "map":
            raise ValueError(
                f'chunk = {chunk} is given with strategy="map", which evaluates one worker at a time; '
                'give it with "vmap", "unrolled" or "auto"'
            )
    if mesh is not None:
        devices.check_mesh("mesh", mesh)
        if strategy == "pmap":
            raise ValueError('mesh= is given with strategy="pmap", which chooses its own devices; give one of the two')
    return partial(
        _evaluate,
        value_and_grad=value_and_grad,
        batch_size=None if batch_size is None else arguments.integer("batch_size", batch_size, low=1),
        takes_key=arguments.flag("takes_key", takes_key),
        strategy=strategy,
        chunk=chunk,
        mesh=mesh,
    )


def _is_ours(oracle: Any) -> TypeGuard[partial[Any]]:
    return isinstance(oracle, partial) and oracle.func is _evaluate


def _evaluate(
    keys: Array,
    views: PyTree,
    data: PyTree,
    workers: Array,
    /,
    *,
    value_and_grad: Callable[..., tuple[Array, Params]],
    batch_size: int | None,
    takes_key: bool,
    strategy: str,
    chunk: int | None,
    mesh: Mesh | None,
) -> tuple[Array, PyTree]:
    """The stacked oracle: draw, then evaluate."""
    k = keys.shape[0]
    num_devices = _num_devices(k, data, strategy, mesh)
    draw = partial(batches.draw, batch_size=batch_size, takes_key=takes_key)
    evaluate = partial(strategies.evaluate, value_and_grad, strategy=strategy, chunk=chunk, is_spread=num_devices > 1)
    if num_devices == 1:
        return evaluate((views, *draw(keys, data, workers)))
    if mesh is None:  # strategy "pmap", which chooses its devices itself
        return strategies.pmap(evaluate, (views, *draw(keys, data, workers)), num_devices)
    own = PartitionSpec(devices.AXIS)
    # without vma, since a scan in the user's loss that starts from a constant would be a type error
    spread = partial(jax.shard_map, mesh=mesh, in_specs=own, out_specs=own, check_vma=False)
    if batches.count_workers(data) in (None, k):
        # all workers are active: a device's workers are the rows of its part of the data, so it draws from these alone
        return spread(lambda keys, views, data: evaluate((views, *draw(keys, data, None))))(keys, views, data)
    # so few numbers are best known everywhere: each leaf of the views would ask for them
    workers = lax.with_sharding_constraint(workers, NamedSharding(mesh, PartitionSpec()))
    return spread(evaluate)((views, *draw(keys, data, workers)))


def _num_devices(k: int, data: PyTree, strategy: str, mesh: Mesh | None) -> int:
    """Over how many devices k workers are spread; 1 is no spreading."""
    if strategy == "pmap":
        return strategies.num_pmap_devices(k)
    if mesh is None:
        return 1
    n = batches.count_workers(data)  # without data nobody knows it
    if n is not None:
        devices.check_divisible("num_workers", n, mesh)
    return mesh.size if k % mesh.size == 0 else 1
