"""CO:P1. Rows come together as fast as each mixing declares.

Setting
    Every mixing of the library on 8 rows, with its p = `contraction` over b = `block` mixings; the variants whose
    arguments say by which mixing their rows are mixed, every H steps (`mixed`), with gradients that are all zero.

Statement (CO:P1)
    any rows (upper):       E‖(I - J) W_{k+b-1} ... W_k X‖² <= (1 - p) ‖(I - J) X‖² for every X and k, over draws;
    the worst rows (equality):  p is exact: both sides agree for some k and the X of the largest eigenvalue of E[ΠᵀΠ],
                            Π the product;
    decay (upper):          E‖(I - J) X_t‖² <= (1 - p)^⌊m/b⌋ ‖(I - J) X_0‖² with m = ⌊t/H⌋ mixings done: the log of
                            consensus falls by at least -log(1 - p)/(b H) a step.

Why
    W_k are doubly stochastic and drawn independently of X, so that (I - J) Π X = (Π - J)(I - J) X, and blocks multiply.

Source
    Koloskova, Loizou, Boreiri, Jaggi, Stich, A Unified Theory of Decentralized SGD, ICML 2020, arXiv 2003.10422, the
    assumption on expected consensus rates; p of each mixing is proved where it is made.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import mixings, topologies
from elastic_jax.base import Algorithm
from elastic_jax.mixings import Mixing
from proofs_check import cases, mixed, record, statistics, trajectory
from proofs_check.cooperative import planted, rows, runs
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CO:P1"

NUM_ROWS = 8
NUM_DRAWS = 4096
NUM_RUNS = 256
NUM_STEPS = 13


def _on(graph: Callable[[int], topologies.Topology], make: Callable[[topologies.Topology], Mixing]) -> Mixing:
    """A mixing of a graph of 8 workers."""
    return make(graph(NUM_ROWS))


def _two_squares(num_rows: int) -> topologies.Topology:
    """Two complete halves that one edge joins: the matching that it is in is to be active more often than others."""
    half = num_rows // 2
    adjacency = np.kron(np.eye(2), np.ones((half, half)) - np.eye(half))
    adjacency[half - 1, half] = adjacency[half, half - 1] = 1.0
    return topologies.from_adjacency(adjacency > 0)


def _lazy_ring(weight: float) -> np.ndarray:
    """Each neighbour on the ring has this weight; it is not symmetric: one of them has half of it."""
    one = np.eye(NUM_ROWS)
    after, before = np.roll(one, 1, axis=1), np.roll(one, -1, axis=1)
    return (1 - 1.5 * weight) * one + weight * after + 0.5 * weight * before


MIXINGS: Mapping[str, Callable[[], Mixing]] = {
    "average": partial(mixings.average, NUM_ROWS),
    "around_ring": partial(mixings.around_ring, NUM_ROWS),
    "constant, a hypercube": partial(_on, topologies.hypercube, mixings.constant),
    "constant, a star": partial(_on, topologies.star, mixings.constant),
    "elastic": partial(mixings.elastic, NUM_ROWS - 1),
    "elastic, weak": partial(mixings.elastic, NUM_ROWS - 1, 0.1),
    "exponential": partial(mixings.exponential, NUM_ROWS),
    "one_peer_exponential": partial(mixings.one_peer_exponential, NUM_ROWS),
    "hierarchical": partial(mixings.hierarchical, 2, NUM_ROWS // 2, every=2),
    "cycle": partial(mixings.cycle, [np.roll(np.eye(NUM_ROWS), 1, axis=0), _lazy_ring(0.2), _lazy_ring(0.4)]),
    "pairs": partial(_on, topologies.ring, mixings.pairs),
    "matchings": partial(_on, topologies.complete, mixings.matchings),
    "matchings, a star": partial(_on, topologies.star, mixings.matchings),
    "sampled": partial(mixings.sampled, NUM_ROWS, 3),
    "matcha": partial(_on, topologies.ring, partial(mixings.matcha, budget=0.5, optimal=False)),
    "matcha, optimal": partial(_on, _two_squares, partial(mixings.matcha, budget=0.5, optimal=True)),
}
"""{what it is: how it is made}: all constructors of `mixings`."""

NEED_CVXPY = ("matcha, optimal",)
"""Those of `MIXINGS` that a solver of an extra makes."""


def check(*, num_draws: int = NUM_DRAWS, num_runs: int = NUM_RUNS) -> list[Check]:
    """Every mixing, and every variant with mixed rows.

    Args:
        num_draws: of the matrices of a block.
        num_runs: without gradients, each with a schedule of its own.
    """
    made = [one for name in cases.few(MIXINGS, number=2) for one in _of_named(name, num_draws)]
    found = cases.few(runs.every(), number=1)
    return [*made, *(_of_run(setting.name, algorithm, num_runs) for setting, algorithm in found)]


def control() -> list[Check]:
    """A p that is overstated, or understated, by a tenth; what is due left out; rows that grow."""
    checks = []
    for name in ("around_ring", "hierarchical", "sampled"):
        mixing = MIXINGS[name]()
        overstated = mixing._replace(contraction=mixing.contraction + 0.1 * (1 - mixing.contraction))
        understated = mixing._replace(contraction=0.9 * mixing.contraction)
        if mixing.contraction < 1 - statistics.ROUNDING:
            of_all = _of_mixing(name, overstated, NUM_DRAWS)
            checks += [record.planted(one, "1 - p understated by a tenth") for one in of_all]
        checks.append(record.planted(_of_mixing(name, understated, NUM_DRAWS)[1], "p understated by a tenth"))
    name, algorithm = next((s.name, a) for s, a in runs.every() if runs.is_gossip(a))
    bugs = {
        "what is due is left out": planted.never_mixing,
        "rows are multiplied by n": planted.summing,
    }
    for bug, plant in bugs.items():
        checks.append(record.planted(_of_run(name, plant(algorithm), NUM_RUNS), bug))
    name, algorithm = next((s.name, a) for s, a in runs.every() if runs.is_late_average(a))
    checks.append(record.planted(_of_run(name, planted.starting_late(algorithm), NUM_RUNS), "mixing one step late"))
    return checks


def _of_named(name: str, num_draws: int) -> list[Check]:
    """One of `MIXINGS`; skipped where what makes it is not installed."""
    if name in NEED_CVXPY and importlib.util.find_spec("cvxpy") is None:
        forms, reason = {"any rows": "upper", "the worst rows": "equality"}, "cvxpy of the extra `fastest` is missing"
        return [record.skip(ID, form, kind, name, reason)._replace(is_exact=True) for form, kind in forms.items()]
    return _of_mixing(name, MIXINGS[name](), num_draws)


def _of_mixing(name: str, mixing: Mixing, num_draws: int) -> list[Check]:
    drawn, others = np.split(_blocks(name, 2 * num_draws), 2)
    if np.all(drawn == drawn[:1]):
        # no coins: every key gives the same matrices
        drawn, others = drawn[:1], drawn[:1]
    judged = partial(record.judge, ID, setting=name, hypotheses=[], seeds=len(drawn), is_exact=len(drawn) == 1, steps=0)
    return [
        judged("any rows", "upper", compare=partial(_any_rows, mixing, drawn, others)),
        judged("the worst rows", "equality", compare=partial(_worst_rows, mixing, drawn, others)),
    ]


@functools.cache
def _blocks(name: str, num_draws: int) -> np.ndarray:
    """float64[S, b, r, r]. W_{k+b-1} ... W_k for k = 0, ..., b - 1."""
    with jax.enable_x64(True):
        mixing = MIXINGS[name]()
        keys = jax.random.split(jax.random.key(2), (num_draws, 2 * mixing.block))
        numbers = jnp.arange(2 * mixing.block, dtype=jnp.int32)
        draw = jax.jit(jax.vmap(jax.vmap(mixing.matrix, (0, 0)), (0, None)), compiler_options=trajectory.QUICKLY)
        found = np.asarray(draw(keys, numbers), np.float64)
    products = [found[:, first] for first in range(mixing.block)]
    for later in range(1, mixing.block):
        products = [found[:, first + later] @ done for first, done in enumerate(products)]
    return np.stack(products, axis=1)


def _worst(others: np.ndarray) -> np.ndarray:
    """float64[b, r]. The unit vector of which most is left in the mean, for each k, by draws that are not tested."""
    away = others - 1.0 / others.shape[-1]
    squares = np.einsum("skji,skjl->kil", away, away) / len(others)
    return np.linalg.eigh(squares)[1][..., -1]


def _left(drawn: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """float64[S, b]. ‖(I - J) Π x‖²/‖(I - J) x‖² with a vector for each k."""
    away = drawn - 1.0 / drawn.shape[-1]
    apart = vectors - vectors.mean(axis=1, keepdims=True)
    return np.square(np.einsum("skij,kj->ski", away, apart)).sum(axis=2) / np.square(apart).sum(axis=1)


def _any_rows(mixing: Mixing, drawn: np.ndarray, others: np.ndarray) -> Comparison:
    """The unit vectors, the worst rows and some that are far apart."""
    r, b = mixing.num_rows, mixing.block
    vectors = [*np.eye(r), *rows.far_apart(r).T]
    each = [_worst(others), *(np.tile(vector, (b, 1)) for vector in vectors)]
    measured = np.stack([_left(drawn, one) for one in each], axis=2)
    return statistics.at_most(measured, 1 - mixing.contraction, is_exact=len(drawn) == 1, scale=1.0, axes=("k", "x"))


def _worst_rows(mixing: Mixing, drawn: np.ndarray, others: np.ndarray) -> Comparison:
    left = _left(drawn, _worst(others))
    worst = left[:, [int(left.mean(axis=0).argmax())]]
    if len(drawn) == 1:
        # p = 1 says that nothing is left of rows of size 1
        return statistics.equal(worst + 1, np.full_like(worst, 2 - mixing.contraction), axes=("s", "k"))
    return statistics.same_mean(worst, 1 - mixing.contraction, scale=1.0, axes=("k",))


def _of_run(name: str, algorithm: Algorithm, num_runs: int) -> Check:
    setting, compare = f"{name} without gradients, n = {algorithm.num_workers}", partial(_decay, algorithm, num_runs)
    return record.judge(ID, "decay", "upper", setting, [], compare, seeds=num_runs, is_exact=False, steps=NUM_STEPS)


def _decay(algorithm: Algorithm, num_runs: int) -> Comparison:
    """From where the rows began to where they are after each step."""
    found = mixed.known(algorithm)
    start = rows.far_apart(found.mixing.num_rows)
    seen = mixed.without_grads(algorithm, start, rows.keys(num_runs=num_runs, num_steps=NUM_STEPS))
    squares = np.square(mixed.apart(seen)).sum(axis=(2, 3))
    num_blocks = np.arange(1, NUM_STEPS + 1) // found.period // found.mixing.block
    claimed = (1 - found.mixing.contraction) ** num_blocks * squares[:, :1]
    is_told = num_blocks > 0
    return statistics.at_most(
        squares[:, 1:][:, is_told], claimed[:, is_told], is_exact=False, scale=float(squares[0, 0]), axes=("t",)
    )
