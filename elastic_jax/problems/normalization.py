"""Normalisation layers of the image models, and the statistics that batch normalisation needs at evaluation.

Workers share parameters and nothing else, so batch normalisation trains with the statistics of each worker's
own mini-batch and keeps no running averages: a running average would be a second, hidden state of every
worker, which no algorithm communicates. For evaluation the statistics are taken anew, from a fixed part of
the training data:

    μ = mean_B μ_B,    σ² = mean_B (σ_B² + (μ_B - μ)²)        over mini-batches B

in one pass in which every layer sees its inputs normalised as in training. Group normalisation needs none of
this and is the default.

Source: Ioffe, Szegedy, ICML 2015, arXiv 1502.03167, Algorithms 1 and 2; Wu, He, ECCV 2018, arXiv 1803.08494,
for groups; Wu, Johnson, arXiv 2105.07576, section 3, for the statistics ("precise" batch normalisation).
"""

from __future__ import annotations

import math

import jax
from flax import linen as nn
from flax import traverse_util
from jax import Array, lax

from elastic_jax import stacked
from elastic_jax.base import Params, PyTree
from elastic_jax.problems import flax_modules

KINDS = ("group", "batch", "none")
NUM_GROUPS = 8


class Norm(nn.Module):
    """Normalises [b, ..., channels]: over groups of channels, over the batch, or not at all.

    Batch normalisation uses the statistics of the batch where the collection "batch_stats" is mutable, and
    writes them there; else it uses those it is given.
    """

    kind: str
    """One of `KINDS`."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Apply the layers."""
        if self.kind == "batch":
            is_training = self.is_mutable_collection("batch_stats")
            return nn.BatchNorm(use_running_average=not is_training, momentum=0.0)(inputs)
        if self.kind == "group":
            # the largest number of equal groups up to 8 that is a power of two
            return nn.GroupNorm(num_groups=math.gcd(NUM_GROUPS, inputs.shape[-1]))(inputs)
        return inputs


def batch_statistics(module: nn.Module, params: Params, batches: Array) -> PyTree:
    """The statistics of all batch normalisation layers over `batches` float[r, b, ...], for evaluation.

    Returns:
        The collection "batch_stats" of `module`: means [c] and variances [c].
    """

    def of_batch(batch: Array) -> PyTree:
        _, updated = flax_modules.apply(module, {"params": params}, batch, mutable=["batch_stats"])
        return updated["batch_stats"]

    rows = traverse_util.flatten_dict(lax.map(of_batch, batches))
    moments = {}
    for path, row in rows.items():
        if path[-1] == "mean":
            var = (*path[:-1], "var")
            moments[path] = stacked.worker_mean(row)
            moments[var] = stacked.worker_mean(rows[var] + (row - moments[path][None]) ** 2)
    return traverse_util.unflatten_dict(moments)


def has_batch_statistics(module: nn.Module, inputs: jax.ShapeDtypeStruct) -> bool:
    """Whether any layer of `module` normalises over the batch."""
    return "batch_stats" in jax.eval_shape(module.init, jax.random.key(0), inputs)
