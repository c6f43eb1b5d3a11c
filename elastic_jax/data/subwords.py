"""Pieces of words as tokens: byte-pair encoding, one vocabulary for both languages, by `sentencepiece`.

Source: Sennrich, Haddow, Birch, Neural Machine Translation of Rare Words with Subword Units, ACL 2016, arXiv
1508.07909; Kudo, Richardson, SentencePiece, EMNLP 2018, arXiv 1808.06226.
Departures: none of our own; text is not normalised, so that what is decoded is what was encoded, but for blanks at
the ends or in rows, and for characters that the training text does not have.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PADDING, START, END, UNKNOWN = range(4)
"""Numbers of the first tokens, as `problems.sequences` has them; the fourth is for characters never seen."""


class Subwords:
    """A vocabulary with its two directions."""

    def __init__(self, model: bytes) -> None:
        """From what `train` returns.

        Raises:
            ValueError: it is no model, or its first tokens are not the four above.
        """
        try:
            self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"a model of {len(model)} bytes is none of sentencepiece ({error})") from error
        found = tuple(getattr(self._processor, f"{name}_id")() for name in ("pad", "bos", "eos", "unk"))
        if found != (PADDING, START, END, UNKNOWN):
            raise ValueError(f"the model numbers padding, start, end and unknown {found}, must be (0, 1, 2, 3)")

    def __len__(self) -> int:
        """The number of tokens, the four above among them."""
        return int(self._processor.get_piece_size())

    def encode(self, texts: Sequence[str], *, has_end: bool) -> list[list[int]]:
        """The tokens of each text; with `has_end`, `END` behind them."""
        found: list[list[int]] = self._processor.encode(list(texts), add_eos=has_end)
        return found

    def decode(self, rows: np.ndarray) -> list[str]:
        """The texts of rows int[m, t]: of each what stands before `END` or `PADDING`."""
        stops = [np.flatnonzero((row == END) | (row == PADDING)) for row in rows]
        words = [row[: stop[0] if len(stop) else None].tolist() for row, stop in zip(rows, stops, strict=True)]
        texts: list[str] = self._processor.decode(words)
        return texts


def rows(tokens: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Lists of at most `length` tokens as int32[m, length], with `PADDING` behind them."""
    found = np.full((len(tokens), length), PADDING, np.int32)
    for row, own in zip(found, tokens, strict=True):
        row[: len(own)] = own
    return found


def cached(texts: Sequence[str], num_subwords: int, folder: Path) -> Subwords:
    """The vocabulary of these texts, from `folder` if it was learnt before; else learnt, and kept if that can be.

    The file's name has a hash of the texts: other texts have another vocabulary.
    """
    content = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    path = folder / f"bpe_{num_subwords}_{content[:12]}.model"
    if path.is_file():
        return Subwords(path.read_bytes())
    model = train(texts, num_subwords)
    if os.access(folder, os.W_OK):
        fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
        fresh.write_bytes(model)
        os.replace(fresh, path)
    return Subwords(model)


def train(texts: Sequence[str], num_subwords: int) -> bytes:
    """A model of `num_subwords` tokens; a function of its arguments.

    Raises:
        ImportError: without sentencepiece; says how to get it.
        ValueError: the texts have too many characters for so few tokens, or too few pairs for so many.
    """
    model = io.BytesIO()
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=num_subwords,
            character_coverage=1.0,
            normalization_rule_name="identity",
            pad_id=PADDING,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"num_subwords = {num_subwords} does not fit {len(texts)} texts: {reason}") from error
    return model.getvalue()


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            "tokens of text need the package sentencepiece, which is not installed; get it with: "
            'pip install "elastic-jax[translation]"'
        ) from error
    return sentencepiece
