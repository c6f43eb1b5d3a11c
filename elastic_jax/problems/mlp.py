"""A multi-layer perceptron on any data set of classes: hidden layers of rectified linear units.

    h_0 = flattened input,    h_l = max(0, W_l h_{l-1} + b_l),    logits = W h_L + b

The smallest model with the non-convexity of deep learning: a step costs microseconds, so it is the one for
sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import Array

from elastic_jax import arguments, base, data
from elastic_jax.problems import classification


class MLP(nn.Module):
    """[b, ...] -> logits [b, num_classes]."""

    widths: tuple[int, ...]
    """Units of each hidden layer."""
    num_classes: int

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Apply the layers."""
        hidden = inputs.reshape(inputs.shape[0], -1)
        for width in self.widths:
            hidden = nn.relu(nn.Dense(width)(hidden))
        return nn.Dense(self.num_classes)(hidden)


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
    widths: Sequence[int] = (128, 128),
) -> base.Problem:
    """A multi-layer perceptron with the cross-entropy loss.

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
        widths: each >= 1, units of each hidden layer; () is logistic regression.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax
        >>> from elastic_jax import stacked
        >>> from elastic_jax.problems import mlp
        >>> problem = mlp.build(num_workers=4, widths=(32,))
        >>> stacked.num_elements(jax.eval_shape(problem.init, jax.random.key(0)))
        2410
    """
    dataset = classification.check(dataset)
    units = arguments.integers("widths", widths, low=1)
    return classification.from_module(
        MLP(units, dataset.num_classes),
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
