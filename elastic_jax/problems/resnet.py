"""ResNet-20, 32, 44, 56, 110: the residual networks for CIFAR.

    h_0     = relu(norm(conv 3x3(input)))                           16 channels
    h_{l+1} = relu(shortcut(h_l) + norm(conv(relu(norm(conv(h_l))))))
    logits  = W mean over pixels(h_L) + b

in three stages of (depth - 2)/6 blocks with 16, 32 and 64 channels; the second and the third stage begin with
stride 2, where the shortcut takes every other pixel and pads the new channels with zeros (it has no
parameters).

Source: He, Zhang, Ren, Sun, Deep Residual Learning, CVPR 2016, arXiv 1512.03385, section 4.2, shortcuts of
option A.
Departures: group normalisation by default, see `normalization`; no data augmentation and no weight decay
here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from elastic_jax import arguments, base, data
from elastic_jax.problems import classification, normalization


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: [b, h, w, c] -> [b, h / stride, w / stride, channels]."""

    channels: int
    stride: int
    norm: str

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Apply the layers."""
        hidden = nn.Conv(self.channels, (3, 3), self.stride, use_bias=False)(inputs)
        hidden = nn.relu(normalization.Norm(self.norm)(hidden))
        hidden = nn.Conv(self.channels, (3, 3), use_bias=False)(hidden)
        hidden = normalization.Norm(self.norm)(hidden)
        shortcut = inputs[:, :: self.stride, :: self.stride]
        shortcut = jnp.pad(shortcut, [(0, 0)] * 3 + [(0, self.channels - inputs.shape[-1])])
        return nn.relu(shortcut + hidden)


class ResNet(nn.Module):
    """[b, height, width, c] -> logits [b, num_classes]."""

    depth: int
    num_classes: int
    norm: str
    width: int = 16

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Apply the layers."""
        hidden = nn.Conv(self.width, (3, 3), use_bias=False)(inputs)
        hidden = nn.relu(normalization.Norm(self.norm)(hidden))
        for stage in range(3):
            for block in range((self.depth - 2) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                hidden = Block(self.width * 2**stage, stride, self.norm)(hidden)
        return nn.Dense(self.num_classes)(hidden.mean((1, 2)))


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
    depth: int = 20,
    width: int = 16,
    norm: str = "group",
    num_calibration: int = 1024,
) -> base.Problem:
    """A residual network for small images with the cross-entropy loss.

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
        depth: 6 k + 2 >= 8, layers with weights: 20, 32, 44, 56 or 110 in the source.
        width: >= 1, channels of the first stage; 16 in the source.
        norm: "group", "batch" (as in the source) or "none", see `normalization`.
        num_calibration: >= 1, training examples from which batch statistics are taken at evaluation, see
            `classification.from_module`; without batch normalisation it has no effect.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax
        >>> from elastic_jax import stacked
        >>> from elastic_jax.problems import resnet
        >>> problem = resnet.build(num_workers=4, depth=20)
        >>> stacked.num_elements(jax.eval_shape(problem.init, jax.random.key(0)))
        269434
    """
    dataset = classification.check(dataset)
    arguments.one_of("norm", norm, normalization.KINDS)
    depth = arguments.integer("depth", depth, low=8)
    if depth % 6 != 2:
        raise ValueError(f"depth = {depth} is out of range; it must be 6 k + 2, e.g. 20, 32 or 56")
    width = arguments.integer("width", width, low=1)
    return classification.from_module(
        ResNet(depth, dataset.num_classes, norm, width),
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
