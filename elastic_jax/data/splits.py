"""Who holds which examples: partitions of a data set over the workers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import arguments
from elastic_jax.base import PyTree, Shards

SPLITS = ("iid", "by_label", "dirichlet")


def shard(
    examples: PyTree,
    *,
    num_workers: int,
    split: str = "iid",
    labels: Any = None,
    alpha: float | None = None,
    seed: int = 0,
    min_size: int = 1,
) -> Shards:
    """An on-device data set split over workers; every example is a real one of exactly one worker.

    Args:
        examples: tree of arrays [m, ...], the m examples first to last; dtypes stay (images stay uint8).
        num_workers: n, in [1, m].
        split: see `partition`.
        labels: see `partition`.
        alpha: see `partition`.
        seed: see `partition`.
        min_size: see `partition`.

    Returns:
        Leaves [n, longest, ...], padded by repeating the shard from its beginning; n · longest examples of
        memory, which a Dirichlet split of small alpha makes many times m.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import numpy as np
        >>> from elastic_jax import data
        >>> shards = data.shard(np.arange(5), num_workers=2, split="by_label", labels=[1, 0, 1, 0, 0])
        >>> print(shards.sizes)
        [3 2]
        >>> print(np.sort(np.asarray(shards.examples[0])))
        [1 3 4]
    """
    num_examples = count(examples)
    parts = partition(
        num_examples,
        num_workers=num_workers,
        split=split,
        labels=labels,
        alpha=alpha,
        seed=seed,
        min_size=min_size,
    )
    longest = max(map(len, parts))
    rows = np.stack([np.resize(part, longest) for part in parts])
    return Shards(
        examples=jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[rows]), examples),
        sizes=jnp.asarray([len(part) for part in parts], jnp.int32),
    )


def partition(
    num_examples: int,
    *,
    num_workers: int,
    split: str = "iid",
    labels: Any = None,
    alpha: float | None = None,
    seed: int = 0,
    min_size: int = 1,
) -> list[np.ndarray]:
    """The numbers of the examples of each worker: n disjoint arrays int64 that together are 0, ..., m-1.

    Args:
        num_examples: m.
        num_workers: n, in [1, m].
        split: "iid": random shards whose sizes differ by at most 1. "by_label": the examples sorted by label
            (in random order within a label), cut in n runs whose sizes differ by at most 1, so that a worker
            sees few labels. "dirichlet": of each label, worker i gets the share p_i with p ~ Dirichlet(alpha
            · 1_n), so that both sizes and labels differ.
        labels: int[m]; needed by the last two splits and not looked at by the first.
        alpha: concentration of the Dirichlet split, in [1e-3, 1e6]: small is one worker for each label, large
            is i.i.d.; None for the others.
        seed: >= 0. The partition is a function of the arguments alone.
        min_size: the fewest examples a worker may get from the Dirichlet split, 1 <= n · min_size <= m. Where
            the draw leaves a worker less, it gets random ones of the worker that has most.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Source: M. Yurochkin et al., "Bayesian nonparametric federated learning of neural networks", ICML 2019,
    arXiv:1905.12022, section 4: one Dirichlet draw for each label. Departure: too small shards are filled,
    not drawn again until they are large enough, which for small alpha and many workers would never end.
    """
    num_examples = arguments.integer("num_examples", num_examples, low=1)
    num_workers = arguments.integer("num_workers", num_workers, low=1, high=num_examples)
    split = arguments.one_of("split", split, SPLITS)
    rng = np.random.default_rng(arguments.integer("seed", seed, low=0))
    min_size = arguments.integer("min_size", min_size, low=1, high=num_examples // num_workers)
    if split != "dirichlet" and alpha is not None:
        raise ValueError(f"alpha = {alpha!r} is given with split = {split!r}; it belongs to split = 'dirichlet'")
    order = rng.permutation(num_examples)
    if split == "iid":
        return np.array_split(order, num_workers)
    label = _labels(labels, num_examples, split)
    order = order[np.argsort(label[order], kind="stable")]
    if split == "by_label":
        return np.array_split(order, num_workers)
    if alpha is None:
        raise ValueError("alpha = None with split = 'dirichlet'; it must be a number in [1e-3, 1e6], e.g. 0.5")
    alpha = arguments.real("alpha", alpha, low=1e-3, high=1e6)
    pieces: list[list[np.ndarray]] = [[] for _ in range(num_workers)]
    for group in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        shares = rng.dirichlet(np.full(num_workers, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(group)).astype(np.int64)
        for worker, piece in enumerate(np.split(group, cuts)):
            pieces[worker].append(piece)
    return _filled([rng.permutation(np.concatenate(piece)) for piece in pieces], min_size)


def count(examples: PyTree) -> int:
    """m: the first axis that all leaves of `examples`, arrays of numbers, share; raises where they do not."""
    shapes = {
        "examples" + jax.tree_util.keystr(path): np.shape(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(arguments.arrays("examples", examples))[0]
    }
    lengths = {shape[0] if shape else 0 for shape in shapes.values()}
    if len(lengths) != 1 or 0 in lengths:
        listing = ", ".join(f"{where} of shape {list(shape)}" for where, shape in shapes.items())
        raise ValueError(f"{listing or 'examples has no leaves'}; all leaves must be [m, ...] with the same m >= 1")
    return lengths.pop()


def check_batch_size(batch_size: Any, num_examples: int, num_workers: int) -> int:
    """`batch_size`, the `min_size` of its shards, which must be in [1, m/n]."""
    return arguments.integer("batch_size", batch_size, low=1, high=max(1, num_examples // num_workers))


def _labels(labels: Any, num_examples: int, split: str) -> np.ndarray:
    if labels is None:
        raise ValueError(f"labels = None with split = {split!r}; it must be the integer label of each example")
    label = arguments.array("labels", labels)
    if label.shape != (num_examples,) or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(
            f"labels has shape {list(label.shape)} and dtype {label.dtype}; it must be integers of shape "
            f"[{num_examples}]"
        )
    return label


def _filled(parts: list[np.ndarray], min_size: int) -> list[np.ndarray]:
    """`parts`, each of at least `min_size`: who has too few takes the last ones of who has most."""
    for worker in range(len(parts)):
        while (missing := min_size - len(parts[worker])) > 0:
            richest = max(range(len(parts)), key=lambda i: len(parts[i]))
            given = min(missing, len(parts[richest]) - min_size)
            parts[worker] = np.concatenate([parts[worker], parts[richest][-given:]])
            parts[richest] = parts[richest][:-given]
    return parts
