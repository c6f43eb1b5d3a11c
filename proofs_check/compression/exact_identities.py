"""EC:I14. What each compressor loses and keeps, as equalities.

Setting
    Each compressor alone, on one vector of d = 8 entries: flat, alternating, with ties and zeros, with one entry,
    Gaussian, heavy-tailed. ‖w‖ is the Euclidean norm, s the number of levels, f_j the fractional part of s |w_j|/‖w‖,
    n± and m± the numbers and means of the entries >= 0 and < 0, T the set of entries kept.

Statement (EC:I14, equality)
    For every draw:
    top-k            ⟨C, w - C⟩ = 0,  ‖w‖² = ‖C‖² + ‖w - C‖²,  ‖w - C‖² = the sum of the d - k smallest squares,
    random-k         ‖w - C‖² = Σ_{j not in T} w_j²,  and scaled it is d/k times that,
    scaled sign      ‖w - C‖² = ‖w‖² - ‖w‖₁²/d,  ⟨C, w⟩ = ‖C‖²,
    two means        ‖w - C‖² = ‖w‖² - n₊ m₊² - n₋ m₋²,  ⟨C, w⟩ = ‖C‖²,
    sign, scale L2   ‖C‖ = ‖w‖,  ‖w - C‖² = 2 ‖w‖² - 2 ‖w‖₁ ‖w‖/√d,
    QSGD             s C_j/‖w‖ is a whole number,
    TernGrad         ‖C‖² = ‖w‖∞ ‖C‖₁,
    contracted       (1 + ω) C = Q.
    In expectation over the draws:
    random-k         E‖w - C‖² = (1 - k/d) ‖w‖²;  scaled E C = w,  E‖w - C‖² = (d/k - 1) ‖w‖²,
    QSGD             E C = w,  E‖w - C‖² = (‖w‖/s)² Σ_j f_j (1 - f_j),
    TernGrad         E C = w,  E‖C‖² = ‖w‖₁ ‖w‖∞,
    contracted       E‖w - C‖² = ω/(1 + ω) ‖w‖² where Q is random-k.

Why
    Each is a line of algebra; ⟨C, w⟩ = ‖C‖² makes C a projection of w. Expectations are those of independent coins,
    entry by entry; over draws they are means, judged within their statistical band.

Source
    See each compressor. The table of the assumption on compression in Nadiradze et al., Elastic Consistency, AAAI
    2021, arXiv 2001.05918, has the factors that follow from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import compressors
from elastic_jax.compressors import Compressor
from elastic_jax.compressors.scopes import scoped
from proofs_check import record, statistics
from proofs_check.compression import specimens
from proofs_check.compression.specimens import NUM_ENTRIES, NUM_MILD
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import norms_sq

ID = "EC:I14"

NUM_DRAWS = 4096

NUM_KEPT = 3
NUM_LEVELS = 2
RANDOM_K = compressors.random_k(NUM_KEPT / NUM_ENTRIES)
SCALED_RANDOM_K = compressors.random_k(NUM_KEPT / NUM_ENTRIES, is_scaled=True)

Sides = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Messages w [N, d] and what is sent C [S, N, d] to both sides of an equality, [S, N] or [S, N, d]."""


class Identity(NamedTuple):
    """An equality of one compressor."""

    name: str
    sides: Sides
    is_mean: bool = False
    """In expectation over draws; else for every draw."""


def check(*, num_draws: int = NUM_DRAWS) -> list[Check]:
    """Every identity of every compressor.

    Args:
        num_draws: S of what is random.
    """
    return [
        _judge(label, compressor, identity, num_draws)
        for label, compressor in COMPRESSORS.items()
        for identity in IDENTITIES[label]
    ]


def control() -> list[Check]:
    """Each compressor mistaken for another one; sign(0) = 0; a level that is the nearest, not a random one."""
    bugs = {f"{other} taken for {label}": (label, COMPRESSORS[other]) for label, other in MISTAKEN.items()}
    for label in ("scaled_sign", "sign_l2"):
        bugs[f"sign(0) = 0 in {label}"] = (label, _without_zeros(COMPRESSORS[label]))
    bugs["levels rounded to the nearest"] = ("qsgd", _nearest())
    return [record.planted(_worst(label, wrong), bug) for bug, (label, wrong) in bugs.items()]


def _judge(label: str, compressor: Compressor, identity: Identity, num_draws: int) -> Check:
    num_draws = 1 if compressor.is_pathwise else num_draws
    setting = f"{label}, " + (f"{num_draws} draws" if num_draws > 1 else "for every draw")
    compare = partial(_compare, compressor, identity, num_draws)
    name = f"{label}: {identity.name}"
    return record.judge(
        ID, name, "equality", setting, [], compare, seeds=num_draws, is_exact=not identity.is_mean, steps=1
    )


def _worst(label: str, compressor: Compressor) -> Check:
    """The identity of `label` that `compressor` violates, the first if none."""
    found = [_judge(label, compressor, identity, NUM_DRAWS) for identity in IDENTITIES[label]]
    return next((check for check in found if check.verdict == "violated"), found[0])


def _compare(compressor: Compressor, identity: Identity, num_draws: int) -> Comparison:
    left, right = identity.sides(specimens.stacked_messages(), specimens.sent(compressor, num_draws=num_draws))
    left, right = np.broadcast_arrays(left, right)
    if identity.is_mean:
        return statistics.same_mean(left[:, :NUM_MILD], right[:, :NUM_MILD], axes=("message", "entry"))
    return statistics.equal(left, right, axes=("draw", "message", "entry"))


def _lost(w: np.ndarray, c: np.ndarray) -> np.ndarray:
    return norms_sq(w - c)


def _whole(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return c, w


def _orthogonal(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sum(c * w, axis=-1), norms_sq(c)


def _pythagoras(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return norms_sq(w), norms_sq(c) + _lost(w, c)


def _smallest_squares(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _lost(w, c), np.sort(w**2, axis=-1)[:, : NUM_ENTRIES - NUM_KEPT].sum(axis=-1)


def _not_kept(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    is_kept = c[:, :1] != 0  # the first message has no zeros, and all messages of a draw share its key
    return _lost(w, c), np.sum(np.where(is_kept, 0.0, w**2), axis=-1)


def _unscaled(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    del w
    return c, NUM_ENTRIES / NUM_KEPT * specimens.sent(RANDOM_K, num_draws=len(c))


def _random_k_lost(w: np.ndarray, c: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    return _lost(w, c), factor * norms_sq(w)


def _one_scale(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _lost(w, c), norms_sq(w) - np.abs(w).sum(axis=-1) ** 2 / NUM_ENTRIES


def _two_scales(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = np.zeros(len(w))
    for is_chosen in (w >= 0, w < 0):
        counts = is_chosen.sum(axis=-1)
        kept += np.where(is_chosen, w, 0.0).sum(axis=-1) ** 2 / np.maximum(counts, 1)
    return _lost(w, c), norms_sq(w) - kept


def _same_length(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return norms_sq(c) ** 0.5, norms_sq(w) ** 0.5


def _wrong_scale(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = norms_sq(w) ** 0.5
    return _lost(w, c), 2 * lengths**2 - 2 * np.abs(w).sum(axis=-1) * lengths / NUM_ENTRIES**0.5


def _levels(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    levels = NUM_LEVELS * c / norms_sq(w)[:, None] ** 0.5
    return levels, np.round(levels)


def _fractions(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    units = norms_sq(w)[:, None] ** 0.5 / NUM_LEVELS
    fractions = np.modf(np.abs(w) / units)[0]
    return _lost(w, c), np.sum(units**2 * fractions * (1 - fractions), axis=-1)


def _ternary(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return norms_sq(c), np.abs(w).max(axis=-1) * np.abs(c).sum(axis=-1)


def _two_norms(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return norms_sq(c), np.abs(w).max(axis=-1) * np.abs(w).sum(axis=-1)


def _divided(w: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    del w
    return NUM_ENTRIES / NUM_KEPT * c, specimens.sent(SCALED_RANDOM_K, num_draws=len(c))  # 1 + ω = d/k


COMPRESSORS = {
    "identity": compressors.identity(),
    "top_k": compressors.top_k(NUM_KEPT / NUM_ENTRIES),
    "random_k": RANDOM_K,
    "random_k scaled": SCALED_RANDOM_K,
    "scaled_sign": compressors.scaled_sign(),
    "two_means": compressors.two_means(),
    "sign_l2": compressors.sign_l2(),
    "qsgd": compressors.qsgd(NUM_LEVELS),
    "terngrad": compressors.terngrad(),
    "contracted random_k": compressors.contracted(SCALED_RANDOM_K),
}

_LOST_FRACTION = 1 - NUM_KEPT / NUM_ENTRIES
IDENTITIES: dict[str, list[Identity]] = {
    "identity": [Identity("C = w", _whole)],
    "top_k": [
        Identity("⟨C, w - C⟩ = 0", _orthogonal),
        Identity("‖w‖² = ‖C‖² + ‖w - C‖²", _pythagoras),
        Identity("‖w - C‖²", _smallest_squares),
    ],
    "random_k": [
        Identity("‖w - C‖²", _not_kept),
        Identity("E‖w - C‖²", partial(_random_k_lost, factor=_LOST_FRACTION), is_mean=True),
    ],
    "random_k scaled": [
        Identity("d/k times the unscaled", _unscaled),
        Identity("E C = w", _whole, is_mean=True),
        Identity("E‖w - C‖²", partial(_random_k_lost, factor=NUM_ENTRIES / NUM_KEPT - 1), is_mean=True),
    ],
    "scaled_sign": [Identity("‖w - C‖²", _one_scale), Identity("⟨C, w⟩ = ‖C‖²", _orthogonal)],
    "two_means": [Identity("‖w - C‖²", _two_scales), Identity("⟨C, w⟩ = ‖C‖²", _orthogonal)],
    "sign_l2": [Identity("‖C‖ = ‖w‖", _same_length), Identity("‖w - C‖²", _wrong_scale)],
    "qsgd": [
        Identity("s C/‖w‖ is whole", _levels),
        Identity("E C = w", _whole, is_mean=True),
        Identity("E‖w - C‖²", _fractions, is_mean=True),
    ],
    "terngrad": [
        Identity("‖C‖² = ‖w‖∞ ‖C‖₁", _ternary),
        Identity("E C = w", _whole, is_mean=True),
        Identity("E‖C‖² = ‖w‖₁ ‖w‖∞", _two_norms, is_mean=True),
    ],
    "contracted random_k": [
        Identity("(1 + ω) C = Q", _divided),
        Identity("E‖w - C‖²", partial(_random_k_lost, factor=_LOST_FRACTION), is_mean=True),
    ],
}
"""{compressor: its equalities}."""

MISTAKEN = {
    "identity": "top_k",
    "top_k": "random_k",
    "random_k": "top_k",
    "random_k scaled": "random_k",
    "scaled_sign": "two_means",
    "two_means": "scaled_sign",
    "sign_l2": "scaled_sign",
    "qsgd": "terngrad",
    "terngrad": "qsgd",
    "contracted random_k": "random_k scaled",
}
"""{compressor: the one that is planted in its place}."""


def _without_zeros(compressor: Compressor) -> Compressor:
    return compressor._replace(decode=_decode_without_zeros)


def _decode_without_zeros(key: jax.Array, code: tuple[jax.Array], reference: tuple[jax.Array]) -> Iterator[jax.Array]:
    del key
    return jax.tree.map(lambda sent, leaf: jnp.where(leaf == 0, 0, sent), code, reference)


def _nearest() -> Compressor:
    unbiased = COMPRESSORS["qsgd"]
    return scoped(
        "leaf",
        compress=_round,
        bits=_no_bits,
        contraction=_unknown,
        variance=_unknown,
        is_pathwise=unbiased.is_pathwise,
        is_shrinking=unbiased.is_shrinking,
    )


def _round(key: jax.Array, vector: jax.Array) -> jax.Array:
    del key
    unit = jnp.linalg.norm(vector) / NUM_LEVELS
    return jnp.round(vector / unit) * unit


def _no_bits(size: int, width: int) -> int:
    del size, width
    return 0


def _unknown(size: int) -> None:
    del size
