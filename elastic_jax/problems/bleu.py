"""BLEU of translations, by `sacrebleu`: on plain text, with the tokens, the smoothing and the case of its default.

Source: Papineni et al., BLEU, ACL 2002; Post, A Call for Clarity in Reporting BLEU Scores, WMT 2018, arXiv 1804.08771.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LONGEST = 200
"""Letters of a wrong argument that an error shows."""


def corpus_bleu(outputs: Sequence[str], references: Sequence[str]) -> float:
    """BLEU in [0, 100] of all outputs together, each with one reference.

    Args:
        outputs: what was translated, text and no tokens.
        references: what it should be, as many.

    Raises:
        ImportError: without sacrebleu; says how to get it.
        TypeError, ValueError: they are no texts, or not as many.
    """
    _check_texts("outputs", outputs)
    _check_texts("references", references)
    if len(outputs) != len(references) or not len(references):
        raise ValueError(f"outputs has {len(outputs)} texts, references {len(references)}; as many, and 1 at least")
    return float(_metric().corpus_score(list(outputs), [list(references)]).score)


def signature() -> str:
    """What a reported score has to name: the settings and the version of `sacrebleu`."""
    metric = _metric()
    metric.corpus_score(["a b c d"], [["a b c d"]])  # it has a signature once it has scored
    return str(metric.get_signature())


def _check_texts(name: str, texts: Any) -> None:
    if not isinstance(texts, Sequence) or isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        shown = repr(texts)
        shown = shown if len(shown) < LONGEST else f"{shown[:LONGEST]} ..."
        raise TypeError(f"{name} = {shown} is no list of texts; it must be one, such as ['one sentence', 'another']")


def _metric() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise ImportError(
            "BLEU needs the package sacrebleu, which is not installed; get it with: "
            'pip install "elastic-jax[translation]"'
        ) from error
    return BLEU()
