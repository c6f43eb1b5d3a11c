"""WRN-d-k: wide residual networks, k times wider than those for CIFAR and less deep.

    h_0     = conv 3x3(input)                                       16 channels
    h_{l+1} = shortcut + conv(relu(norm(conv(relu(norm(h_l))))))    normalised before each convolution
    logits  = W mean over pixels(relu(norm(h_L))) + b

in three stages of (d - 4)/6 blocks with 16k, 32k and 64k channels; the second and the third stage begin with
stride 2. The shortcut is h_l, or a 1x1 convolution of relu(norm(h_l)) where the shape changes.

Source: Zagoruyko, Komodakis, Wide Residual Networks, BMVC 2016, arXiv 1605.07146, Table 1, blocks B(3, 3).
Departures: group normalisation by default, see `normalization`; no dropout, data augmentation or weight decay
here.
"""

from __future__ import annotations

import jax
from flax import linen as nn
from jax import Array

from elastic_jax import arguments, base, data
from elastic_jax.problems import classification, normalization


class Block(nn.Module):
    """Two pre-activated 3x3 convolutions and a shortcut: [b, h, w, c] -> [b, h/stride, w/stride, c']."""

    channels: int
    stride: int
    norm: str

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Apply the layers."""
        active = nn.relu(normalization.Norm(self.norm)(inputs))
        hidden = nn.Conv(self.channels, (3, 3), self.stride, use_bias=False)(active)
        hidden = nn.relu(normalization.Norm(self.norm)(hidden))
        hidden = nn.Conv(self.channels, (3, 3), use_bias=False)(hidden)
        if hidden.shape == inputs.shape:
            return inputs + hidden
        return nn.Conv(self.channels, (1, 1), self.stride, use_bias=False)(active) + hidden


class WideResNet(nn.Module):
    """[b, height, width, c] -> logits [b, num_classes]."""

    depth: int
    widen_factor: int
    num_classes: int
    norm: str

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Apply the layers."""
        hidden = nn.Conv(16, (3, 3), use_bias=False)(inputs)
        for stage in range(3):
            for block in range((self.depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                hidden = Block(16 * self.widen_factor * 2**stage, stride, self.norm)(hidden)
        hidden = nn.relu(normalization.Norm(self.norm)(hidden))
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
    depth: int = 28,
    widen_factor: int = 2,
    norm: str = "group",
    num_calibration: int = 1024,
) -> base.Problem:
    """A wide residual network with the cross-entropy loss.

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
        depth: 6 j + 4 >= 10, layers with weights; 28 for WRN-28-k.
        widen_factor: k >= 1; 10 for WRN-28-10.
        norm: "group", "batch" (as in the source) or "none", see `normalization`.
        num_calibration: >= 1, training examples from which batch statistics are taken at evaluation, see
            `classification.from_module`; without batch normalisation it has no effect.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax
        >>> from elastic_jax import stacked
        >>> from elastic_jax.problems import wide_resnet
        >>> problem = wide_resnet.build(num_workers=4, depth=28, widen_factor=10)
        >>> stacked.num_elements(jax.eval_shape(problem.init, jax.random.key(0)))
        36478906
    """
    dataset = classification.check(dataset)
    arguments.one_of("norm", norm, normalization.KINDS)
    depth = arguments.integer("depth", depth, low=10)
    if depth % 6 != 4:
        raise ValueError(f"depth = {depth} is out of range; it must be 6 j + 4, e.g. 10, 16, 28 or 40")
    widen_factor = arguments.integer("widen_factor", widen_factor, low=1)
    return classification.from_module(
        WideResNet(depth, widen_factor, dataset.num_classes, norm),
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
