"""Batches from the host: for data sets that stay in the memory, or on the disk, of the host.

Each batch is what `step` takes as `data`, and oracles built with `batch_size=None` give worker i its row i.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from elastic_jax import arguments
from elastic_jax.base import PyTree
from elastic_jax.data.dataset import Dataset
from elastic_jax.data.splits import count, partition


def batches(
    examples: Dataset | PyTree,
    *,
    num_workers: int,
    batch_size: int,
    split: str = "iid",
    labels: Any = None,
    alpha: float | None = None,
    seed: int = 0,
    start: int = 0,
) -> Iterator[PyTree]:
    """Batches for ever: each worker draws from its own shard, uniformly and with replacement.

    Args:
        examples: a `Dataset`, which stands for its (train_inputs, train_targets); or a tree of arrays [m,
            ...], among them `numpy.memmap`s, of which only the drawn rows are read.
        num_workers: n, in [1, m].
        batch_size: b >= 1, examples for each worker.
        split: see `partition`.
        labels: see `partition`; default the training targets of a `Dataset`.
        alpha: see `partition`.
        seed: >= 0, of the split and of the draws.
        start: >= 0, the number of the first batch. Batch t is a function of (arguments, t) alone, so that a
            run that starts again at t goes on with the batches it would have had.

    Returns:
        An iterator over trees of NumPy arrays [n, b, ...], dtypes as in `examples`.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range, before the first batch.

    Example:
        >>> from elastic_jax import data
        >>> feed = data.batches(data.load("digits"), num_workers=4, batch_size=8)
        >>> inputs, targets = next(feed)
        >>> print(inputs.shape, targets.shape)
        (4, 8, 8, 8, 1) (4, 8)
    """
    if isinstance(examples, Dataset):
        labels = examples.train_targets if labels is None and split != "iid" else labels
        examples = (examples.train_inputs, examples.train_targets)
    batch_size = arguments.integer("batch_size", batch_size, low=1)
    start = arguments.integer("start", start, low=0)
    parts = partition(count(examples), num_workers=num_workers, split=split, labels=labels, alpha=alpha, seed=seed)
    return _draw(jax.tree.map(np.asarray, examples), parts, batch_size, seed, start)


def grain_batches(
    source: Any,
    *,
    num_workers: int,
    batch_size: int,
    split: str = "iid",
    labels: Any = None,
    alpha: float | None = None,
    seed: int = 0,
    num_threads: int = 16,
) -> Any:
    """Batches for ever through `grain`, for a source larger than memory, or slow to read.

    Each worker goes through its own shard in a new random order in every epoch, without replacement, and
    `num_threads` threads read ahead. Needs the package grain.

    Args:
        source: anything with `len(source)` and `source[i]`, a tree of arrays (the same shapes for every i): a
            `grain.sources.ArrayRecordDataSource` behind a decoder, a folder of images, ...
        num_workers: n, in [1, len(source)].
        batch_size: b >= 1, examples for each worker.
        split: see `partition`.
        labels: see `partition`.
        alpha: see `partition`.
        seed: in [0, 2^32 - num_workers), of the split and of the orders.
        num_threads: >= 0, that read ahead; 0 reads when asked.

    Returns:
        A `grain.IterDataset` over trees of NumPy arrays [n, b, ...]. Its iterator has `get_state` and
        `set_state`, by which a run that starts again goes on with the batches it would have had.

    Raises:
        ImportError: without grain; says how to get it.
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import numpy as np
        >>> from elastic_jax import data
        >>> feed = data.grain_batches(np.arange(12), num_workers=3, batch_size=2, num_threads=0)
        >>> print(next(iter(feed)).shape)
        (3, 2)
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError(
            "grain_batches needs the package grain, which is not installed; get it with: pip install grain "
            '(or the extra: pip install "elastic-jax[grain]"). data.batches needs none'
        ) from error
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        raise TypeError(f"source is a {type(source).__name__}; it must have len(source) and source[i]")
    batch_size = arguments.integer("batch_size", batch_size, low=1)
    num_threads = arguments.integer("num_threads", num_threads, low=0)
    parts = partition(len(source), num_workers=num_workers, split=split, labels=labels, alpha=alpha, seed=seed)
    seed = arguments.integer("seed", seed, low=0, high=2**32 - 1 - num_workers)
    workers = [
        grain.MapDataset.source(_Shard(source, part))
        .shuffle(seed=seed + worker)
        .repeat()
        .batch(batch_size, drop_remainder=True, batch_fn=_stack)
        for worker, part in enumerate(parts)
    ]
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(1, 2 * num_threads))
    return grain.experimental.ZipMapDataset(workers).map(_stack).to_iter_dataset(options)


@dataclass(frozen=True)
class _Shard:
    """The examples of one worker, as a source of their own."""

    source: Any
    part: np.ndarray

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self.part[index])]


def _stack(trees: Any) -> PyTree:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _draw(examples: PyTree, parts: list[np.ndarray], batch_size: int, seed: int, start: int) -> Iterator[PyTree]:
    order = np.concatenate(parts)
    sizes = np.array([len(part) for part in parts])[:, None]
    firsts = np.cumsum(sizes)[:, None] - sizes
    step = start
    while True:
        # The last 1: NumPy seeds [seed, 0] and seed alike, and seed has drawn the partition.
        rng = np.random.default_rng([seed, step, 1])
        rows = order[firsts + rng.integers(0, sizes, (len(parts), batch_size))]
        yield jax.tree.map(partial(_rows, rows=rows), examples)
        step += 1


def _rows(leaf: np.ndarray, *, rows: np.ndarray) -> np.ndarray:
    return leaf[rows]
