"""Sentences and their translations as rows of tokens, as `problems.transformer` takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from elastic_jax import arguments
from elastic_jax.data import help_pages, pairs, subwords
from elastic_jax.data.dataset import Dataset, default_root, find_folder, remedy
from elastic_jax.data.help_pages import Pair
from elastic_jax.data.subwords import Subwords

HELP = "help_en_de"


class Translation(NamedTuple):
    """Pairs of sentences, as tokens and as text."""

    dataset: Dataset
    """Rows int32[m, s] and int32[m, t], targets with `END`; `num_classes` is the number of tokens."""
    subwords: Subwords
    """Between text and tokens."""
    train: list[Pair]
    """The pair of each training row."""
    test: list[Pair]
    """The pair of each test row."""


def load_translation(
    name: str | os.PathLike[str] = HELP,
    root: str | os.PathLike[str] | None = None,
    *,
    num_subwords: int = 4000,
    max_length: int = 64,
    num_train: int | None = None,
    num_test: int | None = None,
) -> Translation:
    """Pairs of sentences with tokens that are learnt from the training part, once: they are kept beside the file.

    Args:
        name: "help_en_de", which `fetch` gets: LibreOffice's help, English to German; or the path of a file of the
            format of `pairs`.
        root: folder that holds the data sets, or the files of this one; default $ELASTIC_JAX_DATA, or
            ~/.cache/elastic_jax.
        num_subwords: V, tokens, in [8, 65536]. They are learnt from all training pairs, also where fewer are asked
            for.
        max_length: >= 2, tokens; pairs with a longer source, or a target longer with `END`, are left out, of the
            test set too.
        num_train: >= 1, at most so many training pairs; None: all.
        num_test: >= 1, the same of test pairs.

    Raises:
        ImportError: without sentencepiece; says how to get it.
        FileNotFoundError: no such file.
        TypeError, ValueError: naming the argument, its value and its range, or the line that is no pair.
    """
    num_subwords = arguments.integer("num_subwords", num_subwords, low=8, high=1 << 16)
    max_length = arguments.integer("max_length", max_length, low=2)
    limits = [
        None if limit is None else arguments.integer(which, limit, low=1)
        for which, limit in (("num_train", num_train), ("num_test", num_test))
    ]
    path, how = _file(name, default_root(root))
    found = pairs.load(path, how)
    texts = [text for pair in found.train for text in (pair.source, pair.target)]
    words = subwords.cached(texts, num_subwords, path.parent)
    kept = [_short(side, words, max_length, limit) for side, limit in zip(found, limits, strict=True)]
    for which, side in zip(("training", "test"), kept, strict=True):
        if not side:
            raise ValueError(f"max_length = {max_length} leaves no {which} pair of {path}; it must be larger")
    sides = [
        words.encode([getattr(pair, part) for pair in side], has_end=part == "target")
        for side in kept
        for part in ("source", "target")
    ]
    lengths = [max(map(len, [*sides[part], *sides[2 + part]])) for part in (0, 1)]
    inputs, targets, test_inputs, test_targets = (
        subwords.rows(side, lengths[which % 2]) for which, side in enumerate(sides)
    )
    title = name if name == HELP else path.stem
    return Translation(Dataset(str(title), inputs, targets, test_inputs, test_targets, len(words)), words, *kept)


def _file(name: str | os.PathLike[str], root: Path) -> tuple[Path, str]:
    """The file of pairs, and what to do if it is wrong."""
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"name = {name!r} is a {type(name).__name__}; it must be {HELP!r}, or the path of a file")
    if name == HELP:
        return find_folder(HELP, root, [HELP], _holds_pairs) / help_pages.PAIRS, remedy(HELP, root)
    for path in (Path(name).expanduser(), root / name):
        if path.is_file():
            return path, "replace the file"
    raise FileNotFoundError(f"{name} is no file, neither here nor in {root}; it must be one of pairs, or {HELP!r}")


def _holds_pairs(folder: Path) -> bool:
    return (folder / help_pages.PAIRS).is_file()


def _short(side: Sequence[Pair], words: Subwords, max_length: int, limit: int | None) -> list[Pair]:
    """The first `limit` pairs that are no longer than `max_length`, as `load_translation` says."""
    sources = words.encode([pair.source for pair in side], has_end=False)
    targets = words.encode([pair.target for pair in side], has_end=True)
    lengths = [max(len(source), len(target)) for source, target in zip(sources, targets, strict=True)]
    return [pair for pair, length in zip(side, lengths, strict=True) if length <= max_length][:limit]
