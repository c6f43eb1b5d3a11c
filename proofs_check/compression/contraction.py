"""EC:P6. A pathwise compressor loses at most the fraction γ of every message.

Setting
    Every compressor that declares a contraction factor δ = 1 - γ and that it holds for all draws, on messages that
    are flat, have one entry, alternate in sign, are Gaussian or heavy-tailed; a message has three leaves, and is
    compressed leaf by leaf or as a whole. Leaf by leaf, γ is the largest over the leaves.

Statement (EC:P6, tight)
    ‖C(w) - w‖² <= γ ‖w‖²                                                           for every message and draw.
    Attained by top-k where the entries are equal, by one-bit compressors where all but one are zero, and by powers of
    two where all but one are 3/4 of that one.

Why
    What top-k loses are the d - k smallest of d squares. What a sign with the scale ‖w‖₁/d loses is
    ‖w‖² - ‖w‖₁²/d <= (1 - 1/d) ‖w‖², as ‖w‖₁ >= ‖w‖; two means lose no more. A sign with the scale ‖w‖/√d loses
    2 ‖w‖² - 2 ‖w‖₁ ‖w‖/√d, up to 2 - 2/√d times ‖w‖²: below 1 for d <= 3 only. Rounding 3/4 to a power of two is off by
    1/4, a third of it, which is the most that entries can lose which are not rounded to zero.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the assumption on compression with error
    feedback; the factors: see each compressor.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from elastic_jax import compressors
from elastic_jax.compressors import Compressor
from proofs_check import record, statistics
from proofs_check.compression import specimens
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:P6"

COMPRESSORS: Mapping[str, Compressor] = {
    "identity": compressors.identity(),
    **{
        f"{label} of {what}": compressor
        for scope, what in (("leaf", "each leaf"), ("model", "the model"))
        for label, compressor in (
            ("top_k(0.25)", compressors.top_k(0.25, scope=scope)),
            ("scaled_sign", compressors.scaled_sign(scope=scope)),
            ("two_means", compressors.two_means(scope=scope)),
            ("sign_l2", compressors.sign_l2(scope=scope)),
            ("powers_of_two(4)", compressors.powers_of_two(4, scope=scope)),
        )
    },
    "random_k(0.25) of each leaf": compressors.random_k(0.25),
    "qsgd(2) of each leaf": compressors.qsgd(2),
    "terngrad of each leaf": compressors.terngrad(),
    "contracted qsgd(2) of each leaf": compressors.contracted(compressors.qsgd(2)),
}


def check() -> list[Check]:
    """Every compressor; those that are no contraction, or one in the mean only, are skipped and say so."""
    return [_judge(label, compressor) for label, compressor in COMPRESSORS.items()]


def control() -> list[Check]:
    """Signs with the wrong scale said to be as good as scaled ones; random-k to be so for all draws; k + 1 for k."""
    scaled, top = compressors.scaled_sign(scope="model"), compressors.top_k(0.25, scope="model")
    more = compressors.top_k(3 / 8, scope="model")
    bugs = {
        "the scale ‖w‖₂/√d": scaled._replace(encode=compressors.sign_l2(scope="model").encode),
        "random-k declared pathwise": compressors.random_k(0.25)._replace(is_pathwise=True),
        "δ of k + 1 entries": top._replace(contraction_factor=more.contraction_factor),
    }
    return [record.planted(_judge(bug, compressor), bug) for bug, compressor in bugs.items()]


def _judge(label: str, compressor: Compressor) -> Check:
    lost = compressors.residual_fraction(compressor, specimens.example(is_tree=True))
    assumed = [
        Hypothesis("contraction", lost is not None and lost < 1, f"γ = {lost}"),
        Hypothesis("pathwise", compressor.is_pathwise, "for every draw, or in expectation only"),
    ]
    names = ", ".join(specimens.messages())
    setting = f"{label}, messages: {names}"
    compare = partial(_compare, compressor, lost)
    return record.judge(ID, "for every message", "tight", setting, assumed, compare, seeds=1, is_exact=True, steps=1)


def _compare(compressor: Compressor, lost: float | None) -> Comparison:
    assert lost is not None
    messages = specimens.stacked_messages()
    residuals = specimens.sent(compressor, is_tree=True) - messages
    return statistics.at_most(norms_sq(residuals), lost * norms_sq(messages)[None], is_exact=True, axes=("message",))
