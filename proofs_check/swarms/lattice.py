"""SW:Q1. A lattice quantiser: who is near enough decodes what was meant, with an error that no norm enters.

Setting
    A message x of 18 numbers from 10⁻³ to 10³, and a receiver y at the boundary, |x - y| = y_∞, in half of them, and
    nearer in the others. q levels, rounded to the nearest with a side s = 2 y_∞/(q - 1) of the cells, or at random with
    s = 2 y_∞/(q - 2); a shift of the lattice that both ends make from one key. z is what y decodes.

Statement (SW:Q1)
    at the boundary (upper):     |z - x| <= s/2 to the nearest, <= s at random              for every shift,
    one point (equality):        z is the same for the receiver y, for x itself, and half way   for every shift,
    far away (equality):         z - x is the same for x + 2000 q s and y + 2000 q s        for every shift,
    mean (equality):             E z = x                                                    over shifts,
    variance (equality):         E(z - x)² = s²/12 = y_∞²/(3 (q - 1)²) to the nearest, s²/6 at random.
    With cells of side 0.8 s:
    period (equality):           z is off the point that was meant by whole multiples of q · 0.8 s,
    failures (equality):         where it is off at all is counted,
    rate of failures (equality): P(e > h) at the boundary, e the error of rounding in cells, h = q/2 - (q - 1)/1.6 to
                                 the nearest, h = q/2 - (q - 2)/1.6 at random.

Why
    (x - θ)/s is off a whole number by a uniform fraction, so e = (z - x)/s is uniform in [-1/2, 1/2]; at random, with
    fraction f, it has the variance f (1 - f), of mean 1/6, and over shifts the law of a sum of two uniform ones. Points
    of one colour are q s apart: y finds the right one while |e + (x - y)/s| < q/2, and 1/2 + (q - 1)/2 = q/2, as is
    1 + (q - 2)/2. With a side of 0.8 s, (x - y)/s is larger, and e may not exceed h.

Source
    Davies, Gurunathan, Moshrefi, Ashkboos, Alistarh, ICLR 2021, arXiv 2002.09268, for the lattice; the constants are
    derived above.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import compressors
from elastic_jax.base import PyTree
from elastic_jax.compressors import Compressor
from proofs_check import record, statistics, trajectory
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison

ID = "SW:Q1"

NUM_DRAWS = 4096
DISTANCE = 0.25
SHORT = 0.8
"""The side of cells that are too small, in units of s."""
PERIODS = 2000
NUM_ENTRIES = 18
NUM_AT_BOUNDARY = 9
AXES = ("draw", "entry")


class Lattice(NamedTuple):
    """A quantiser in one setting; a bug is another `make`."""

    num_levels: int
    rounding: str
    make: Callable[..., Compressor] = compressors.lattice
    """`make(q, distance=, rounding=)`."""

    @property
    def is_random(self) -> bool:
        """Whether coins round."""
        return self.rounding == "stochastic"

    @property
    def side(self) -> float:
        """The side s of the statement."""
        return 2 * DISTANCE / (self.num_levels - (2 if self.is_random else 1))


def check(*, num_draws: int = NUM_DRAWS) -> list[Check]:
    """Four numbers of levels, with both roundings.

    Args:
        num_draws: S, shifts.
    """
    lattices = [Lattice(q, rounding) for rounding in ("nearest", "stochastic") for q in (3, 4, 16, 256)]
    return [_judge(lattice, name, num_draws) for lattice in lattices for name in FORMS]


def control() -> list[Check]:
    """Shifts that are not shared, or none; no parameters of one's own; cells too small; a norm; a wrong count."""
    bugs = [
        ("the receiver has a shift of its own", _own_shift, "nearest", ("at the boundary", "one point")),
        (
            "decoded near the mean of the receiver, not near the receiver",
            _near_its_mean,
            "nearest",
            ("at the boundary", "one point"),
        ),
        ("cells of side 0.8 s", _smaller, "nearest", ("at the boundary", "one point", "variance")),
        ("random rounding with the side of the nearest", _side_of_the_nearest, "stochastic", ("one point", "variance")),
        ("rounded at random for to the nearest", _at_random, "nearest", ("at the boundary", "variance")),
        ("one shift for all messages", _one_shift, "nearest", ("mean", "variance")),
        ("levels of a norm, not of the distance", _of_a_norm, "nearest", ("at the boundary", "far away")),
        ("all of a message counted if one is off", _all_counted, "nearest", ("failures",)),
        ("cells of side 0.9 · 0.8 s", _slightly_smaller, "nearest", ("period", "rate of failures")),
    ]
    return [
        record.planted(_judge(Lattice(4, rounding, make), name, NUM_DRAWS), f"{bug} ({name})")
        for bug, make, rounding, names in bugs
        for name in names
    ]


def _judge(lattice: Lattice, name: str, num_draws: int) -> Check:
    x, y = _ends()
    farthest = float(np.abs(x - y).max())
    form = FORMS[name]
    return record.judge(
        ID,
        name,
        form.kind,
        f"q = {lattice.num_levels}, {lattice.rounding}, {num_draws} shifts",
        [Hypothesis("|x - y| <= y_∞", farthest <= DISTANCE, f"{farthest:g} and {DISTANCE:g}")],
        partial(form.compare, lattice, num_draws),
        seeds=num_draws,
        is_exact=not form.is_mean,
        steps=1,
    )


def _at_boundary(lattice: Lattice, num_draws: int) -> Comparison:
    x, _ = _ends()
    errors = np.abs(_decoded(lattice, num_draws)[0] - x)
    reach = lattice.side * (1.0 if lattice.is_random else 0.5)
    return statistics.at_most(errors[None], reach, is_exact=True, scale=float(np.abs(x).max()), axes=AXES)


def _one_point(lattice: Lattice, num_draws: int) -> Comparison:
    by_y, by_x, half_way = (_decoded(lattice, num_draws, place=place)[0] for place in (1.0, 0.0, 0.5))
    return statistics.equal(np.stack([by_y, half_way]), np.stack([by_x, by_x]), axes=("receiver", *AXES))


def _far_away(lattice: Lattice, num_draws: int) -> Comparison:
    x, _ = _ends()
    far = PERIODS * lattice.num_levels * lattice.side
    near_errors = _decoded(lattice, num_draws)[0] - x
    far_errors = _decoded(lattice, num_draws, far=far)[0] - (x + far)
    return statistics.equal(far_errors, near_errors, scale=far + float(np.abs(x).max()), axes=AXES)


def _mean(lattice: Lattice, num_draws: int) -> Comparison:
    x, _ = _ends()
    return statistics.same_mean(_decoded(lattice, num_draws)[0], x[None], axes=("entry",))


def _variance(lattice: Lattice, num_draws: int) -> Comparison:
    x, _ = _ends()
    claimed = lattice.side**2 / (6 if lattice.is_random else 12)
    return statistics.same_mean((_decoded(lattice, num_draws)[0] - x) ** 2, claimed, axes=("entry",))


def _off_by(lattice: Lattice, num_draws: int) -> np.ndarray:
    """How many periods what y decodes of cells of side 0.8 s is off the point that was meant."""
    by_y, by_x = (_decoded(lattice, num_draws, place=place, short=SHORT)[0] for place in (1.0, 0.0))
    return (by_y - by_x) / (lattice.num_levels * SHORT * lattice.side)


def _period(lattice: Lattice, num_draws: int) -> Comparison:
    periods = _off_by(lattice, num_draws)
    return statistics.equal(periods, np.round(periods), axes=AXES)


def _failures(lattice: Lattice, num_draws: int) -> Comparison:
    is_off = np.round(_off_by(lattice, num_draws)) != 0
    return statistics.equal(_decoded(lattice, num_draws, short=SHORT)[1], is_off.sum(axis=-1), axes=("draw",))


def _rate_of_failures(lattice: Lattice, num_draws: int) -> Comparison:
    is_off = np.round(_off_by(lattice, num_draws))[:, :NUM_AT_BOUNDARY] != 0
    room = lattice.num_levels / 2 - (lattice.num_levels - (2 if lattice.is_random else 1)) / (2 * SHORT)
    return statistics.same_mean(is_off, _exceeds(room, is_random=lattice.is_random), axes=("entry",))


def _exceeds(room: float, *, is_random: bool) -> float:
    """P(e > room): e uniform in [-1/2, 1/2], or the sum of two of those."""
    if not is_random:
        return float(np.clip(0.5 - room, 0, 1))
    tail = max(1 - abs(room), 0.0) ** 2 / 2
    return tail if room >= 0 else 1 - tail


class Form(NamedTuple):
    """One line of the statement."""

    kind: str
    compare: Callable[[Lattice, int], Comparison]
    is_mean: bool = False


FORMS: Mapping[str, Form] = {
    "at the boundary": Form("upper", _at_boundary),
    "one point": Form("equality", _one_point),
    "far away": Form("equality", _far_away),
    "mean": Form("equality", _mean, is_mean=True),
    "variance": Form("equality", _variance, is_mean=True),
    "period": Form("equality", _period),
    "failures": Form("equality", _failures),
    "rate of failures": Form("equality", _rate_of_failures, is_mean=True),
}


def _ends() -> tuple[np.ndarray, np.ndarray]:
    """The ends x and y: float64[18] each, on a grid on which y_∞ is exact; the first nine are y_∞ apart."""
    sizes = np.round(np.logspace(-3, 3, NUM_ENTRIES) * 2**20) / 2**20
    y = np.where(np.arange(NUM_ENTRIES) % 2 == 0, sizes, -sizes)
    apart = np.where(np.arange(NUM_ENTRIES) < NUM_AT_BOUNDARY, 1.0, np.arange(NUM_ENTRIES) / 32 - 0.5)
    signs = np.where(np.arange(NUM_ENTRIES) % 3 == 0, -1.0, 1.0)
    return y + DISTANCE * apart * signs, y


@functools.cache
def _decoded(
    lattice: Lattice, num_draws: int, *, place: float = 1.0, far: float = 0.0, short: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """What is decoded of x for every shift, and how many failures are counted: float64[S, d] and int32[S].

    Args:
        lattice: the quantiser.
        num_draws: S.
        place: of the receiver between x at 0 and y at 1.
        far: added to both ends.
        short: side of the cells, in units of s.
    """
    x, y = _ends()
    distance = short * DISTANCE
    with jax.enable_x64(True):
        compressor = lattice.make(lattice.num_levels, distance=distance, rounding=lattice.rounding)
        counts = compressor.nearness.num_failures if compressor.nearness is not None else _no_count

        def one(key: jax.Array, message: jax.Array, receiver: jax.Array) -> tuple[jax.Array, jax.Array]:
            found = compressor.decode(key, compressor.encode(key, message), receiver)
            return found, counts(key, message, found)

        over_keys = jax.jit(jax.vmap(one, (0, None, None)), compiler_options=trajectory.QUICKLY)
        keys = jax.random.split(jax.random.key(0), num_draws)
        found, counted = jax.device_get(over_keys(keys, jnp.asarray(x + far), jnp.asarray(x + place * (y - x) + far)))
    return found, counted


# What the bugs make in the place of a lattice.


def _own_shift(num_levels: int, **given: Any) -> Compressor:
    made = compressors.lattice(num_levels, **given)
    return made._replace(decode=partial(_decode_with_own_key, decode=made.decode))


def _decode_with_own_key(key: jax.Array, code: PyTree, reference: PyTree, *, decode: Callable[..., PyTree]) -> PyTree:
    return decode(jax.random.fold_in(key, 1), code, reference)


def _near_its_mean(num_levels: int, **given: Any) -> Compressor:
    made = compressors.lattice(num_levels, **given)
    return made._replace(decode=partial(_decode_near_its_mean, decode=made.decode))


def _decode_near_its_mean(key: jax.Array, code: PyTree, reference: PyTree, *, decode: Callable[..., PyTree]) -> PyTree:
    return decode(key, code, jnp.full_like(reference, jnp.mean(reference)))


def _smaller(num_levels: int, *, distance: float, rounding: str) -> Compressor:
    return compressors.lattice(num_levels, distance=SHORT * distance, rounding=rounding)


def _slightly_smaller(num_levels: int, *, distance: float, rounding: str) -> Compressor:
    return compressors.lattice(num_levels, distance=0.9 * distance, rounding=rounding)


def _side_of_the_nearest(num_levels: int, *, distance: float, rounding: str) -> Compressor:
    smaller = distance * (num_levels - 2) / (num_levels - 1)
    return compressors.lattice(num_levels, distance=smaller, rounding=rounding)


def _at_random(num_levels: int, *, distance: float, rounding: str) -> Compressor:
    del rounding
    return compressors.lattice(num_levels, distance=distance, rounding="stochastic")


def _one_shift(num_levels: int, **given: Any) -> Compressor:
    made = compressors.lattice(num_levels, **given)
    return made._replace(
        encode=partial(_with_one_key, function=made.encode), decode=partial(_with_one_key, function=made.decode)
    )


def _with_one_key(key: jax.Array, *others: PyTree, function: Callable[..., PyTree]) -> PyTree:
    del key
    return function(jax.random.key(0), *others)


def _of_a_norm(num_levels: int, **given: Any) -> Compressor:
    del given
    return compressors.qsgd(num_levels)


def _no_count(*given: Any) -> jax.Array:
    del given
    return jnp.int32(0)


def _all_counted(num_levels: int, **given: Any) -> Compressor:
    made = compressors.lattice(num_levels, **given)
    assert made.nearness is not None
    counts = partial(_count_all, counts=made.nearness.num_failures)
    return made._replace(nearness=made.nearness._replace(num_failures=counts))


def _count_all(key: jax.Array, message: PyTree, decoded: PyTree, *, counts: Callable[..., jax.Array]) -> jax.Array:
    return jnp.where(counts(key, message, decoded) > 0, NUM_ENTRIES, 0)
