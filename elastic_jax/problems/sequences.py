"""Pairs of token sequences, as the transformer takes them, and two tasks made by code: copying and reversing.

A row is int32: words (numbers from `FIRST_WORD` on), then `END` in targets, then `PADDING` up to the common
length. Real pairs come the same way: a `data.Dataset` with rows as inputs and targets, and the number of
tokens, these three among them, as `num_classes`.
"""

from __future__ import annotations

import numpy as np

from elastic_jax import arguments, data

PADDING = 0
START = 1
"""What the decoder reads before the first word; no row holds it."""
END = 2
FIRST_WORD = 3


def copying(
    *, num_words: int = 13, max_length: int = 8, num_train: int = 2048, num_test: int = 256, seed: int = 0
) -> data.Dataset:
    """The target is the source: words drawn uniformly, lengths uniform on {1, ..., max_length}.

    Args:
        num_words: >= 1; the tokens are 3 more.
        max_length: >= 1, words.
        num_train: >= 1, pairs.
        num_test: >= 1, pairs.
        seed: >= 0, of the words and lengths.
    """
    return _task("copying", 1, num_words, max_length, num_train, num_test, seed)


def reversal(
    *, num_words: int = 13, max_length: int = 8, num_train: int = 2048, num_test: int = 256, seed: int = 0
) -> data.Dataset:
    """The target is the source backwards; arguments as of `copying`."""
    return _task("reversal", -1, num_words, max_length, num_train, num_test, seed)


def check(dataset: data.Dataset) -> data.Dataset:
    """`dataset` with int32 rows; raises if they are no rows of tokens below `num_classes`."""
    data.check(dataset)
    return dataset._replace(
        train_inputs=_rows(dataset, "train_inputs"),
        train_targets=_rows(dataset, "train_targets"),
        test_inputs=_rows(dataset, "test_inputs"),
        test_targets=_rows(dataset, "test_targets"),
    )


def lengths(rows: np.ndarray) -> np.ndarray:
    """How many tokens of each row are not padding: int[m, t] -> int32[m]."""
    return (rows != PADDING).sum(axis=1).astype(np.int32)


def _rows(dataset: data.Dataset, name: str) -> np.ndarray:
    tokens = np.asarray(getattr(dataset, name))
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(
            f"dataset.{name} has shape {tokens.shape} and dtype {tokens.dtype}; it must be rows of "
            "tokens, integers of shape [m, length]"
        )
    if tokens.min() < 0 or tokens.max() >= dataset.num_classes:
        raise ValueError(
            f"dataset.{name} has tokens from {tokens.min()} to {tokens.max()}; they must be in "
            f"[0, num_classes = {dataset.num_classes})"
        )
    return tokens.astype(np.int32)


def _task(
    name: str, direction: int, num_words: int, max_length: int, num_train: int, num_test: int, seed: int
) -> data.Dataset:
    num_words = arguments.integer("num_words", num_words, low=1)
    max_length = arguments.integer("max_length", max_length, low=1)
    num_train = arguments.integer("num_train", num_train, low=1)
    num_rows = num_train + arguments.integer("num_test", num_test, low=1)
    rng = np.random.default_rng(arguments.integer("seed", seed, low=0))
    words = rng.integers(FIRST_WORD, FIRST_WORD + num_words, (num_rows, max_length)).astype(np.int32)
    sizes = rng.integers(1, max_length + 1, num_rows)
    sources = np.where(np.arange(max_length) < sizes[:, None], words, PADDING).astype(np.int32)
    targets = np.full((num_rows, max_length + 1), PADDING, np.int32)
    for source, target, size in zip(sources, targets, sizes, strict=True):
        target[:size] = source[:size][::direction]
        target[size] = END
    return data.Dataset(
        name,
        sources[:num_train],
        targets[:num_train],
        sources[num_train:],
        targets[num_train:],
        FIRST_WORD + num_words,
    )
