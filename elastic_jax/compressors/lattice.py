"""A quantiser whose error depends on how far the receiver is from the message, and not on how long the message is.

The sender x and the receiver y share a key, and so a random shift θ of a cubic lattice of side s:

    s = 2 y_∞/(q - 1)                             where |x - y| <= y_∞; 2 y_∞/(q - 2) if k is rounded at random
    θ ~ U[-s/2, s/2]                              from the shared key
    k = round((x - θ)/s),    c = k mod q          the sender: one colour of q is sent for each coordinate
    z = θ + s (c + q round(((y - θ)/s - c)/q))    the receiver: the point of that colour that is next to y

Then z = θ + s k, the point that the sender meant, exactly if |s k + θ - y| < q s/2, and |x - y| <= y_∞ is enough for
that. To the nearest: E z = x over the shift, |z - x| <= s/2, E(z - x)² = s²/12 = y_∞²/(3 (q - 1)²). At random: E z = x
for every shift, |z - x| < s, E(z - x)² = s²/6 over the shift. Where |x - y| > y_∞, z may be wrong by a multiple of q s,
and nothing tells the receiver: the sender's side can count it, `Nearness.num_failures`.

Source: Davies, Gurunathan, Moshrefi, Ashkboos, Alistarh, New Bounds for Distributed Mean Estimation and Variance
Reduction, ICLR 2021, arXiv 2002.09268: its cubic lattice, with the constants derived here.
Departures: the shifts are hashed from the key (`shared_bits`): each is uniform, two of them are not independent, and 0
is in the middle of a cell for one q only; nobody sees where the lattice begins. s is larger by 16 units of rounding, so
that rounding never leaves the right cell at the boundary. The receiver does not learn of failures; they are counted
where both ends are known.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import arguments
from elastic_jax.compressors import packing, rotation, shared_bits
from elastic_jax.compressors.compressor import Compressor, Nearness
from elastic_jax.compressors.scopes import constant, wide

PyTree = Any
ROUNDINGS = ("nearest", "stochastic")
SHIFTS, COINS, SIGNS, LAST_SIGNS = range(4)
"""What bits are made for from the shared key."""
FAILURE = 1e-6
"""δ: how often the norm of a rotated message may be too small. A thousandth of it would make s larger by 10 %."""


def lattice(
    num_levels: int = 256,
    *,
    distance: float | None = None,
    margin: float = 1.5,
    rounding: str = "nearest",
    is_rotated: bool = False,
) -> Compressor:
    """Rounds to a shifted lattice and sends colours, from which a receiver close by finds the point: see above.

    Neither a contraction nor with a variance factor: the error depends on the distance. It fits variants whose workers
    exchange parameters, `quantizer=`, and none that send updates.
    Bits: ⌈log₂ q⌉ for each number, in words as `packing` says, and one number, the distance, if it is a running
    maximum.
    Rounding: numbers are reduced modulo q s before they are divided by s. In float32 for |x| <= 2¹² q s (2²⁶ in
    float64) this is as exact as the floats are at q s; beyond, however large |x|/s, what is said above holds up to two
    units in the last place of x, for which `distance` must leave room. Leaves of half precision are rounded once more
    when they are decoded. NaN and infinities cannot be sent: they become numbers near those of the receiver, and are
    failures.

    Args:
        num_levels: q, in [3, 65536]; a power of two is fastest.
        distance: y_∞ > 0, a bound on what `Nearness.norm` finds between message and receiver; None: those who exchange
            keep a running maximum of it.
        margin: c >= 1, by which a running maximum is multiplied.
        rounding: "nearest", unbiased over the shift; "stochastic", unbiased for every shift, with twice the variance.
        is_rotated: True: `rotation` comes first. s is smaller where few coordinates are far apart, and a message whose
            norm is at most `distance` is decoded rightly, all its coordinates at once, with probability 1 - 10⁻⁶.
    """
    num_levels = arguments.integer("num_levels", num_levels, low=3, high=2**packing.WIDEST)
    return _bound(
        None if distance is None else arguments.real("distance", distance, above=0.0),
        num_levels=num_levels,
        rounding=arguments.one_of("rounding", rounding, ROUNDINGS),
        is_rotated=arguments.flag("is_rotated", is_rotated),
        margin=arguments.real("margin", margin, low=1.0),
        is_running=distance is None,
    )


def side(distance: float | Array, num_levels: int, rounding: str) -> float | Array:
    """Side s of a cell of the lattice for |x - y| <= `distance`: float[].

    Args:
        distance: y_∞.
        num_levels: q.
        rounding: "nearest" or "stochastic".
    """
    return distance * (2.0 / (num_levels - (2 if rounding == "stochastic" else 1)))


def _bound(
    distance: float | Array | None,
    *,
    num_levels: int,
    rounding: str,
    is_rotated: bool,
    margin: float,
    is_running: bool,
) -> Compressor:
    """The compressor for messages that are within `distance`."""
    form: dict[str, Any] = {"num_levels": num_levels, "rounding": rounding, "is_rotated": is_rotated}
    return Compressor(
        encode=partial(_encode_lattice, distance=distance, **form),
        decode=partial(_decode_lattice, distance=distance, **form),
        bits=partial(_bits, num_levels=num_levels, is_running=is_running),
        contraction_factor=partial(constant, value=None),
        variance_factor=partial(constant, value=None),
        is_pathwise=False,
        is_shrinking=False,
        nearness=Nearness(
            norm=partial(_norm, is_rotated=is_rotated),
            within=partial(_bound, margin=margin, is_running=is_running, **form),
            num_failures=partial(_num_failures, distance=distance, **form),
            margin=margin,
            is_running=is_running,
        ),
    )


def _encode_lattice(
    key: Array, message: PyTree, *, distance: float | Array | None, num_levels: int, rounding: str, is_rotated: bool
) -> PyTree:
    codes = []
    for leaf, start in _leaves("message", message):
        x = _coordinates(key, leaf, start, is_rotated)
        period = _period(distance, x.dtype, num_levels, rounding)
        phases = _phases(x, period) - _shifts(key, start, x, num_levels)
        colours = _colours(phases, _roundings(key, start, x, rounding), num_levels)
        codes.append(packing.pack(colours, _width(num_levels)))
    return jax.tree.unflatten(jax.tree.structure(message), codes)


def _decode_lattice(
    key: Array,
    code: PyTree,
    reference: PyTree,
    *,
    distance: float | Array | None,
    num_levels: int,
    rounding: str,
    is_rotated: bool,
) -> PyTree:
    leaves, width = _leaves("reference", reference), _width(num_levels)
    treedef = jax.tree.structure(reference)
    arguments.like(
        "code", code, jax.tree.unflatten(treedef, [packing.packed(leaf.size, width) for leaf, _ in leaves]), "its form"
    )
    decoded = []
    for (leaf, start), words in zip(leaves, jax.tree.leaves(code), strict=True):
        y = _coordinates(key, leaf, start, is_rotated)
        period = _period(distance, y.dtype, num_levels, rounding)
        phases = _phases(y, period) - _shifts(key, start, y, num_levels)
        points = _points(packing.unpack(words, width, y.size).astype(phases.dtype), num_levels)
        # z - y, in (-q s/2, q s/2]: unsigned numbers wrap as the colours do
        moves = _as_signed(points - phases).astype(y.dtype) * (period * 2.0 ** -(8 * y.dtype.itemsize))
        if is_rotated:
            moves = rotation.rotate_back(moves, _signs(key), start)
        decoded.append((wide(leaf.reshape(-1)) + moves).astype(leaf.dtype).reshape(leaf.shape))
    return jax.tree.unflatten(treedef, decoded)


def _num_failures(
    key: Array,
    message: PyTree,
    decoded: PyTree,
    *,
    distance: float | Array | None,
    num_levels: int,
    rounding: str,
    is_rotated: bool,
) -> Array:
    """Numbers farther than q s/2 from the message: decoded rightly they are within s, wrongly beyond (q - 1) s."""
    arguments.like("decoded", decoded, message, "message")
    total = jnp.zeros((), jnp.int32)
    for (leaf, start), other in zip(_leaves("message", message), jax.tree.leaves(decoded), strict=True):
        difference = _coordinates(key, wide(other) - wide(leaf), start, is_rotated)
        period = _period(distance, difference.dtype, num_levels, rounding)
        total = total + jnp.sum(~(jnp.abs(difference) <= period / 2), dtype=jnp.int32)  # so that a NaN is one
    return total


def _norm(difference: PyTree, *, is_rotated: bool) -> Array:
    leaves = _leaves("difference", difference)
    size = sum(leaf.size for leaf, _ in leaves)
    dtype = _widest(difference)
    largest = jnp.zeros((), dtype)
    for leaf, _ in leaves:
        exact = wide(leaf.reshape(-1))
        if is_rotated:
            found = rotation.largest_rotated(exact, num_coordinates=size, failure=FAILURE)
        else:
            found = jnp.max(jnp.abs(exact), initial=0)
        largest = jnp.maximum(largest, found.astype(dtype))
    return largest


def _bits(message: PyTree, *, num_levels: int, is_running: bool) -> int:
    words = [packing.packed(leaf.size, _width(num_levels)) for leaf in jax.tree.leaves(message)]
    codes = sum(8 * word.size * word.dtype.itemsize for word in words)
    return codes + (8 * _widest(message).itemsize if is_running else 0)


def _leaves(name: str, tree: PyTree) -> list[tuple[Array, int]]:
    """The leaves, each with how many numbers come before it."""
    found, start = [], 0
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        arguments.floats(name + jax.tree_util.keystr(path), leaf, jnp.shape(leaf))
        found.append((jnp.asarray(leaf), start))
        start += leaf.size
    return found


def _widest(tree: PyTree) -> np.dtype:
    """Of the leaves as they are computed with, the dtype that holds them all."""
    widths = [max(leaf.dtype.itemsize, 4) for leaf in jax.tree.leaves(tree)]
    return np.dtype(f"float{8 * max(widths, default=4)}")


def _coordinates(key: Array, leaf: Array, start: int, is_rotated: bool) -> Array:
    """The numbers that are rounded: those of a leaf, or its rotation."""
    vector = wide(leaf.reshape(-1))
    return rotation.rotate(vector, _signs(key), start) if is_rotated else vector


def _signs(key: Array) -> tuple[rotation.Words, rotation.Words]:
    return shared_bits.seed(key, SIGNS), shared_bits.seed(key, LAST_SIGNS)


def _period(distance: float | Array | None, dtype: np.dtype, num_levels: int, rounding: str) -> Array:
    """Q s, the distance between two points of one colour."""
    if distance is None:
        raise ValueError(
            "distance = None is a running maximum, kept by those who exchange messages; alone it must be a number > 0, "
            "lattice(..., distance=0.1), or be given: compressor.nearness.within(distance)"
        )
    bound = jnp.asarray(distance).astype(dtype)
    return bound * (num_levels * side(1.0, num_levels, rounding) * (1 + 16 * float(jnp.finfo(dtype).eps)))


def _width(num_levels: int) -> int:
    return (num_levels - 1).bit_length()


# Numbers modulo q s are unsigned integers of w bits, w that of the floats: 2^w is q s, and what wraps is right.


def _phases(vector: Array, period: Array) -> Array:
    """x/(q s) 2^w mod 2^w, up to a constant: float[d] -> uint[d].

    x is reduced in two products, of which the first is exact (Cody and Waite); the mantissa of a number in [1, 2) is
    read off. What is no number, or too large to tell, has some phase.
    """
    kind = jnp.finfo(vector.dtype)
    width = 8 * vector.dtype.itemsize
    word = np.dtype(f"uint{width}")
    coarse = lax.reduce_precision(period, exponent_bits=kind.nexp, mantissa_bits=kind.nmant // 2)
    inverse = jnp.where(period > 0, 1 / jnp.where(period > 0, period, 1), 0)
    wholes = jnp.round(vector * inverse)
    rest = (vector - wholes * coarse) - wholes * (period - coarse)
    mantissas = lax.bitcast_convert_type(rest * inverse + 1.5, word)
    return mantissas << word.type(width - kind.nmant)


def _shifts(key: Array, start: int, vector: Array, num_levels: int) -> Array:
    """θ in [0, s), as a phase."""
    uniform = _words(shared_bits.bits(shared_bits.seed(key, SHIFTS), start, vector.size), vector.dtype)
    return uniform // uniform.dtype.type(num_levels)


def _roundings(key: Array, start: int, vector: Array, rounding: str) -> Array:
    """What is added before a fraction is cut off: one half, or a coin for every coordinate."""
    if rounding == "stochastic":
        return _words(shared_bits.bits(shared_bits.seed(key, COINS), start, vector.size), vector.dtype)
    width = 8 * vector.dtype.itemsize
    return jnp.asarray(2 ** (width - 1), np.dtype(f"uint{width}"))


def _words(bits: Array, dtype: np.dtype) -> Array:
    """Bits as words of the width of `dtype`, the highest first."""
    return bits if dtype.itemsize == 4 else bits.astype(jnp.uint64) << np.uint64(32)


def _colours(phases: Array, roundings: Array, num_levels: int) -> Array:
    """⌊q phase/2^w + rounding/2^w⌋ mod q: uint[d] -> uint[d], by halves of a word, so that nothing is lost."""
    kind, width = phases.dtype.type, 8 * phases.dtype.itemsize
    half, mask = kind(width // 2), kind(2 ** (width // 2) - 1)
    if num_levels == 2 ** _width(num_levels):
        return (phases + (roundings >> kind(_width(num_levels)))) >> kind(width - _width(num_levels))
    low = ((phases & mask) * kind(num_levels) + (roundings & mask)) >> half
    colours = ((phases >> half) * kind(num_levels) + low + (roundings >> half)) >> half
    return jnp.where(colours == kind(num_levels), kind(0), colours)


def _points(colours: Array, num_levels: int) -> Array:
    """c/q 2^w to the nearest: uint[d] -> uint[d]."""
    kind, width = colours.dtype.type, 8 * colours.dtype.itemsize
    if num_levels == 2 ** _width(num_levels):
        return colours << kind(width - _width(num_levels))
    wholes, rest = divmod(2**width, num_levels)
    return colours * kind(wholes) + (colours * kind(rest) + kind(num_levels // 2)) // kind(num_levels)


def _as_signed(words: Array) -> Array:
    return lax.bitcast_convert_type(words, np.dtype(f"int{8 * words.dtype.itemsize}"))
