"""A small convolutional network for images: the model of the quick experiments.

    h_l = relu(norm(conv 3x3(h_{l-1}))),    logits = W flattened(h_L) + b

with strides of 1, 2, 2, ...: strided convolutions in the place of pooling, whose gradient is slow on CPUs.
Channels (8, 16) are for images of 8x8 pixels, (16, 32, 64) for 32x32.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import Array

from elastic_jax import arguments, base, data
from elastic_jax.problems import classification, normalization


class CNN(nn.Module):
    """[b, height, width, c] -> logits [b, num_classes]."""

    channels: tuple[int, ...]
    """Channels of each convolution."""
    num_classes: int
    norm: str

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Apply the layers."""
        hidden = inputs
        for layer, channels in enumerate(self.channels):
            stride = 1 if layer == 0 else 2
            hidden = nn.Conv(channels, (3, 3), stride, use_bias=self.norm == "none")(hidden)
            hidden = nn.relu(normalization.Norm(self.norm)(hidden))
        return nn.Dense(self.num_classes)(hidden.reshape(hidden.shape[0], -1))


def build(
    *,
    num_workers: int,
    dataset: data.Dataset | None = None,
    batch_size: int = 32,
    split: str = "iid",
    alpha: float | None = None,
    seed: int = 0,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    channels: Sequence[int] = (8, 16),
    norm: str = "none",
    num_calibration: int = 1024,
) -> base.Problem:
    """A small convolutional network with the cross-entropy loss.

    Args:
        num_workers: n >= 1.
        dataset: of `data`, with integer targets; default the embedded digits.
        batch_size: >= 1, examples of a mini-batch of one worker.
        split: "iid", "by_label" or "dirichlet", see `data.shard`.
        alpha: > 0, concentration of the Dirichlet split.
        seed: of the split.
        strategy: how the oracle evaluates the workers, see `oracles.from_loss`.
        chunk: see `oracles.from_loss`.
        mesh: see `oracles.from_loss`.
        channels: each >= 1, channels of each convolution.
        norm: "group", "batch" or "none", see `normalization`.
        num_calibration: >= 1, training examples from which batch statistics are taken at evaluation, see
            `classification.from_module`; without batch normalisation it has no effect.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax
        >>> from elastic_jax import stacked
        >>> from elastic_jax.problems import cnn
        >>> problem = cnn.build(num_workers=4)
        >>> stacked.num_elements(jax.eval_shape(problem.init, jax.random.key(0)))
        3818
    """
    dataset = classification.check(dataset)
    arguments.one_of("norm", norm, normalization.KINDS)
    kernels = arguments.integers("channels", channels, low=1)
    return classification.from_module(
        CNN(kernels, dataset.num_classes, norm),
        num_calibration=num_calibration,
        num_workers=num_workers,
        dataset=dataset,
        batch_size=batch_size,
        split=split,
        alpha=alpha,
        seed=seed,
        strategy=strategy,
        chunk=chunk,
        mesh=mesh,
    )
