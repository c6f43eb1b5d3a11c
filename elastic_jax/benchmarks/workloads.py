"""The models that are timed, each with the gradient of one worker that a hand-written loop would use.

Inputs are random numbers in the shape of the data sets: what a step costs does not depend on what the pixels show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from elastic_jax import base, data
from elastic_jax.problems import cnn, mlp, quadratic, resnet, sequences, transformer

EXAMPLES_PER_WORKER = 64


class Workload(NamedTuple):
    """A problem, and the same for one worker alone."""

    problem: base.Problem
    value_and_grad: Callable[..., tuple[Array, Any]]
    """`value_and_grad(params, batch)`, or `(params, batch, key)` where `takes_key`."""
    batch_size: int | None
    takes_key: bool


def quadratics(dim: int, noise: float, num_workers: int, mesh: Mesh | None) -> Workload:
    """A diagonal quadratic with gaussian noise."""
    del mesh  # its oracle is elementwise over workers: placing the data is all there is to do
    problem = quadratic.build(num_workers=num_workers, dim=dim, noise=noise)
    return Workload(problem, partial(_quadratic, noise=noise), None, True)


def supervised(build: Callable[..., base.Problem], num_workers: int, mesh: Mesh | None) -> Workload:
    """A problem made from a loss: the hand-written loop uses the same differentiated loss."""
    problem = build(num_workers=num_workers, mesh=mesh)
    bound = getattr(problem.oracle, "keywords", {})
    return Workload(problem, bound["value_and_grad"], bound["batch_size"], bound["takes_key"])


def _images(side: int, channels: int, num_workers: int) -> data.Dataset:
    random = np.random.default_rng(0)
    count = EXAMPLES_PER_WORKER * num_workers
    pixels = random.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    labels = random.integers(0, 10, count).astype(np.int32)
    return data.Dataset(f"random {side}x{side}", pixels, labels, pixels[:10], labels[:10], 10)


def _logistic(*, num_workers: int, mesh: Mesh | None) -> base.Problem:
    return mlp.build(dataset=_images(28, 1, num_workers), widths=(), batch_size=32, num_workers=num_workers, mesh=mesh)


def _mlp(*, num_workers: int, mesh: Mesh | None) -> base.Problem:
    images = _images(28, 1, num_workers)
    return mlp.build(dataset=images, widths=(128, 128), batch_size=32, num_workers=num_workers, mesh=mesh)


def _cnn(*, num_workers: int, mesh: Mesh | None) -> base.Problem:
    images = _images(32, 3, num_workers)
    return cnn.build(dataset=images, channels=(16, 32, 64), batch_size=16, num_workers=num_workers, mesh=mesh)


def _resnet(*, num_workers: int, mesh: Mesh | None) -> base.Problem:
    return resnet.build(dataset=_images(32, 3, num_workers), batch_size=8, num_workers=num_workers, mesh=mesh)


def _transformer(*, num_workers: int, mesh: Mesh | None) -> base.Problem:
    sentences = sequences.copying(num_words=253, max_length=64, num_train=EXAMPLES_PER_WORKER * num_workers)
    return transformer.build(
        dataset=sentences, width=64, num_layers=2, hidden_width=256, batch_size=4, num_workers=num_workers, mesh=mesh
    )


WORKLOADS: Mapping[str, Callable[[int, Mesh | None], Workload]] = {
    "quadratic d=100": partial(quadratics, 100, 1.0),
    "quadratic d=10000": partial(quadratics, 10_000, 1.0),
    "logistic 784x10": partial(supervised, _logistic),
    "mlp 784-128-128-10": partial(supervised, _mlp),
    "cnn 16-32-64": partial(supervised, _cnn),
    "resnet-20": partial(supervised, _resnet),
    "transformer 2x64": partial(supervised, _transformer),
}


def _quadratic(params: Array, batch: Mapping[str, Array], key: Array, *, noise: float) -> tuple[Array, Array]:
    offset = params - batch["centres"]
    slope = batch["curvatures"] * offset
    scale = noise / jnp.sqrt(jnp.asarray(params.size, params.dtype))
    return 0.5 * jnp.vdot(offset, slope), slope + scale * jax.random.normal(key, params.shape, params.dtype)
