"""Sentences and their translations from a text file, and which of them are held out.

A line is page, source and target, with tabs between them. Whole pages are held out, by a hash of their names, since
the sentences of one page repeat each other: on a random split a model would be asked for what it has read. What
is left on both sides, a sentence that is in the training set but for case, digits and punctuation, is not asked for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from elastic_jax.data.help_pages import Pair

HELD_OUT = 16
"""One page of so many is held out."""


class Split(NamedTuple):
    """Training and test pairs, each in an order that has nothing to do with their pages: take the first for fewer."""

    train: list[Pair]
    test: list[Pair]


def load(path: Path, how: str = "replace the file") -> Split:
    """The pairs of a file.

    Args:
        path: the file, UTF-8.
        how: the remedy that an error ends with.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no pair, or no pair for one of the sets; says which line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; {how}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}); {how}") from error
    fields = [line.split("\t") for line in lines]
    for number, line in enumerate(fields, start=1):
        if len(line) != 3 or not all(field.strip() for field in line):
            raise ValueError(
                f"{path}, line {number}: {len(line)} fields, must be page, source and target with tabs between; {how}"
            )
    found = split([Pair(*line) for line in fields])
    if not found.train or not found.test:
        raise ValueError(
            f"{path}: {len(fields)} lines are {len(found.train)} training and {len(found.test)} test pairs, must be 1 "
            f"at least; one page of {HELD_OUT} is held out, by the hash of its name; {how}"
        )
    return found


def split(pairs: list[Pair]) -> Split:
    """A function of the pairs alone: of their order, of the machine and of Python's hashes nothing depends."""
    ordered = sorted(pairs, key=lambda pair: (_hash(pair.source), pair))
    train = [pair for pair in ordered if not is_held_out(pair.page)]
    known = {letters(pair.source) for pair in train}
    return Split(train, [pair for pair in ordered if is_held_out(pair.page) and letters(pair.source) not in known])


def is_held_out(page: str) -> bool:
    """Whether the pairs of a page are for the test."""
    return _hash(page) % HELD_OUT == 0


def letters(text: str) -> str:
    """Its letters, in lower case, with one blank between words."""
    return " ".join("".join(letter if letter.isalpha() else " " for letter in text.casefold()).split())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
