"""BLEU of translations, by `sacrebleu`: on plain text, with the tokens, the smoothing and the case of its default.

Source: Papineni et al., BLEU, ACL 2002; Post, A Call for Clarity in Reporting BLEU Scores, WMT 2018, arXiv 1804.08771.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def corpus_bleu(outputs: Sequence[str], references: Sequence[str]) -> float:
    """BLEU in [0, 100] of all outputs together, each with one reference.

    Args:
        outputs: what was translated, text and no tokens.
        references: what it should be, as many.

    Raises:
        ImportError: without sacrebleu; says how to get it.
        TypeError, ValueError: they are no texts, or not as many.
    """
    for name, texts in (("outputs", outputs), ("references", references)):
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{name} is a {type(texts).__name__} with what is no text; it must be a list of texts")
    if len(outputs) != len(references) or not len(references):
        raise ValueError(f"outputs has {len(outputs)} texts, references {len(references)}; as many, and 1 at least")
    return float(_metric().corpus_score(list(outputs), [list(references)]).score)


def signature() -> str:
    """What a reported score has to name: the settings and the version of `sacrebleu`."""
    metric = _metric()
    metric.corpus_score(["a b c d"], [["a b c d"]])  # it has a signature once it has scored
    return str(metric.get_signature())


def _metric() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise ImportError(
            "BLEU needs the package sacrebleu, which is not installed; get it with: "
            'pip install "elastic-jax[translation]"'
        ) from error
    return BLEU()
