"""Is it better to average all now and then or neighbours more often, if each worker sends as many bits?

Every worker may send the parameters once in H steps, in the mean. Local SGD averages all with them, gossip SGD sends
them to neighbours on a ring, a torus, a star or directed exponential graphs, in random matchings, or by MATCHA on a
ring. An averaging of all is counted as an upload to a server, or as a ring all-reduce, which is nearly twice as much;
see `ways_at_equal_bits`. The bits are those that runs report.

On quadratics, whose workers are alike or differ in curvatures and minima, the loss of x, the loss at the workers and
their distance from x are known exactly at every step (`changing_floors`), and are measured. So is which of two ways
keeps workers closer together, against what the criterion of Cooperative SGD (arXiv 1808.07576) says, H - 1 < 2 ζ² /
(1 - ζ²), in its form for all periods: also where one way has more bits. Then a convolutional network learns CIFAR-10,
from shards that are alike and from a Dirichlet split, each seed from another one.

Answer (small: 16 workers on quadratics, 16 seeds; 8 workers with a CNN on CIFAR-10, 5 seeds; 95 % bands). At equal bits
local SGD is closer together in 28 of 28 pairs on both quadratics, as the criterion says: by 1.13 [1.12, 1.14] at least,
against one-peer exponential graphs. With other bits the criterion is right where it says gossip (3 of 3), and in 48 and
50 of 53 pairs where it says local. Loss at x is the same on alike workers, and 1.10 [1.08, 1.13] times as much at least
on different ones. On the network workers of random matchings have 1.8 points [0.9, 2.8] more test accuracy than those
of all-reduce; with Dirichlet 0.1 five seeds do not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.axes import Axes

from elastic_jax import base, metrics, run, stacked
from elastic_jax.console import page
from elastic_jax.problems import quadratic
from experiments import (
    bands,
    changing_floors,
    figures,
    network_at_equal_bits,
    one_network,
    record,
    tables,
    ways_at_equal_bits,
)
from experiments.answer import Answer, Claim
from experiments.network_at_equal_bits import Training
from experiments.ways_at_equal_bits import ALL_REDUCE, APART, EQUAL, KINDS, LOCAL, MEAN, MEASURED, TICKS, WORKERS

QUESTION = (__doc__ or "").splitlines()[0]

PROBLEMS = ("alike", "different")
TOLERANCE = 0.01
"""How far what is measured may be from what is exact beyond its band: single precision."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    kinds: tuple[str, ...] = tuple(KINDS)
    num_workers: int = 16
    dim: int = 20
    noise: float = 1.0
    low_curvature: float = 0.1
    """The highest is 1."""
    curvature_spread: float = 0.5
    """Of the different workers."""
    centre_spread: float = 0.5
    """Of the different workers."""
    step_size: float = 0.02
    budgets: tuple[int, ...] = (8, 32)
    """H: steps in which a worker sends the parameters once; multiples of n / 2."""
    num_steps: int = 3840
    num_seeds: int = 16
    seed: int = 0
    network: network_at_equal_bits.Config = field(default_factory=network_at_equal_bits.Config)


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        kinds=(ALL_REDUCE, "matchings"),
        num_workers=4,
        dim=4,
        step_size=0.05,
        budgets=(4,),
        num_steps=1920,
        num_seeds=5,
        network=network_at_equal_bits.Config(
            dataset="digits",
            reduce=1,
            channels=(4,),
            num_examples=1000,
            kinds=(ALL_REDUCE, "ring"),
            num_workers=4,
            num_steps=96,
        ),
    ),
    "small": Config(),
    "paper": Config(
        budgets=(8, 32, 128),
        num_steps=76_800,
        num_seeds=64,
        network=network_at_equal_bits.Config(
            reduce=1,
            channels=(16, 32, 64),
            num_examples=50_000,
            num_test=10_000,
            kinds=tuple(kind for kind in KINDS if kind != "star"),
            num_workers=16,
            batch_size=16,
            budget=16,
            num_steps=20_160,
            num_seeds=10,
        ),
    ),
}


class Point(NamedTuple):
    """One way on one quadratic, with one budget."""

    problem: str
    kind: str
    budget: int
    period: int
    measured: np.ndarray
    """[S, 3]: `MEASURED`, means over the second half of a run."""
    expected: np.ndarray
    """[3]: exactly."""
    network_error: float
    """N of `changing_floors`."""
    copies: np.ndarray
    """[S, n]: of the parameters, sent by each worker, on average in H steps."""


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Runs all ways, shows the tables, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    points = []
    for problem in PROBLEMS:
        console.print(f"[bold]quadratic[/bold], workers {problem}")
        points += [measure(config, problem, kind, H, run_dir) for H in config.budgets for kind in config.kinds]
    console.print(f"[bold]network[/bold], {config.network.dataset}")
    trainings = network_at_equal_bits.train(config.network, run_dir)

    lines = []
    for headings, own, title, caption in (
        (*rows(points), f"{config.num_seeds} seeds", "means of the second half; in brackets: expected"),
        (
            *network_at_equal_bits.rows(trainings),
            f"{config.network.num_seeds} seeds",
            "of the last quarter; 95 % bands",
        ),
    ):
        console.print(tables.as_table(headings, own, title=title, caption=caption))
        lines.append(tables.as_markdown(headings, own))
    (run_dir / "table.md").write_text("\n".join(lines), encoding="utf-8")
    save_points(points, trainings, run_dir / "points.csv")
    plot(config, points, trainings, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(points) + network_at_equal_bits.claims(trainings), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def build_problem(config: Config, name: str) -> base.Problem:
    """One of `PROBLEMS`; both have the noise of one coordinate in all."""
    is_alike = name == "alike"
    return quadratic.build(
        num_workers=config.num_workers,
        dim=config.dim,
        noise=config.noise,
        low_curvature=config.low_curvature,
        curvature_spread=0.0 if is_alike else config.curvature_spread,
        centre_spread=0.0 if is_alike else config.centre_spread,
        seed=config.seed,
    )


def measure(config: Config, name: str, kind: str, budget: int, run_dir: Path) -> Point:
    """One point; what was measured before is read."""
    problem = build_problem(config, name)
    found = record.kept(run_dir, f"{name}_{kind}_{budget}", partial(floors, config, problem, kind, budget))
    mixing = KINDS[kind](config.num_workers)
    own = ways_at_equal_bits.period(kind, budget, config.num_workers)
    return Point(
        name,
        kind,
        budget,
        own,
        found["values"],
        second_half(expected(config, problem, kind, budget)[None])[0],
        changing_floors.network_error(mixing, own),
        ways_at_equal_bits.share(kind, found["sent"], budget=budget, num_steps=config.num_steps),
    )


def floors(config: Config, problem: base.Problem, kind: str, budget: int) -> dict[str, np.ndarray]:
    """{values: float[S, 3], of `MEASURED`; sent: float[S, n], copies of the parameters}."""
    num_steps = config.num_steps
    result = run.run(
        ways_at_equal_bits.build(
            kind, problem.oracle, budget=budget, num_workers=config.num_workers, step_size=config.step_size
        ),
        problem.init(jax.random.key(config.seed)),
        problem.data,
        num_steps=num_steps,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_seeds,
        metrics={
            "values": metrics.metric(partial(_values, problem=problem), 1),
            "sent": one_network.sent_by_each(num_steps, num_workers=config.num_workers),
        },
        check="every_step",  # one program less to compile, and these steps cost nothing
    )
    return {"values": second_half(result.history["values"][1]), "sent": result.history["sent"][1][:, -1]}


def _values(moment: metrics.Moment, *, problem: base.Problem) -> Array:
    """float[3]: `MEASURED` at one step."""
    lowest = jnp.asarray(problem.constants.optimal_value, float)
    at_mean = problem.objective(moment.params, moment.data)
    at_workers = jnp.mean(jax.vmap(problem.objective, (0, None))(moment.info.views, moment.data))
    apart = jnp.mean(stacked.distances_sq(moment.info.views, moment.params))
    return jnp.stack([at_mean - lowest, at_workers - lowest, apart])


def expected(config: Config, problem: base.Problem, kind: str, budget: int) -> np.ndarray:
    """[T, 3]: `MEASURED`, exactly."""
    curvatures, centres = (np.asarray(problem.data[name], np.float64) for name in ("curvatures", "centres"))
    optimum = np.asarray(problem.constants.optimum, np.float64)
    known = changing_floors.Changing(
        curvatures,
        centres - optimum,
        np.full(config.dim, config.noise**2 / config.dim),
        changing_floors.draws(KINDS[kind](config.num_workers)),
        ways_at_equal_bits.period(kind, budget, config.num_workers),
        config.step_size,
    )
    start = np.asarray(problem.init(jax.random.key(config.seed)), np.float64) - optimum
    moments = changing_floors.path(known, start, config.num_steps)
    slopes = curvatures.mean(axis=0) / 2
    apart = (moments.workers - moments.mean).sum(axis=1)
    return np.stack([moments.mean @ slopes, moments.workers @ slopes, apart], axis=1)


def second_half(values: np.ndarray) -> np.ndarray:
    """[S, T, ...] -> [S, ...]: the mean."""
    return np.asarray(values[:, values.shape[1] // 2 :].mean(axis=1, dtype=np.float64))


def claims(points: list[Point]) -> tuple[Claim, ...]:
    """On quadratics: all is as expected, local SGD is ahead, and how often the criterion is right."""
    found = []
    for problem in PROBLEMS:
        own = [point for point in points if point.problem == problem]
        found.append(ways_at_equal_bits.bits_claim(problem, [point.copies for point in own]))
        for which, name in MEASURED.items():
            ratios = np.stack([point.measured[:, which] / point.expected[which] for point in own], axis=1)
            found.append(ways_at_equal_bits.ratio_claim(f"{problem}: {name} / expected", ratios, TOLERANCE))
        if problem == "alike":
            losses = np.stack([point.measured[:, MEAN] / own[0].measured[:, MEAN] for point in own], axis=1)
            found.append(ways_at_equal_bits.ratio_claim(f"{problem}: loss at x / that of {own[0].kind}", losses, EQUAL))
        equal = [pair for pair in pairs(own) if pair[0].budget == pair[1].budget]
        for kind in LOCAL:
            some = [pair for pair in equal if pair[0].kind == kind]
            judged = (APART, WORKERS) if problem == "alike" else (APART, WORKERS, MEAN)
            found += [
                ahead_claim(f"{problem}: {MEASURED[which]}, gossip / local by {kind}", some, which)
                for which in judged
                if some
            ]
        for setting, compared in (
            ("equal bits", equal),
            ("any bits, where it says local", [pair for pair in pairs(own) if says_local(*pair)]),
            ("any bits, where it says gossip", [pair for pair in pairs(own) if not says_local(*pair)]),
        ):
            found += [criterion_claim(f"{problem}, {setting}", compared)] if compared else []
    return tuple(found)


def pairs(points: list[Point]) -> list[tuple[Point, Point]]:
    """(local, gossip), with equal bits or not."""
    local = [point for point in points if point.kind in LOCAL]
    return [(one, other) for one in local for other in points if other.kind not in LOCAL]


def ahead_claim(name: str, some: list[tuple[Point, Point]], which: int) -> Claim:
    """Of all gossip the one that comes nearest to local SGD is behind it."""
    level = bands.simultaneous(len(some))
    ratios = [
        bands.of_positive(_ratio, np.stack([gossip.measured[:, which], local.measured[:, which]], axis=1), level)
        for local, gossip in some
    ]
    least = int(np.argmin([float(ratio.middle) for ratio in ratios]))
    gossip = some[least][1]
    return Claim.of_band(
        f"{name}, least, of {gossip.kind} with H = {gossip.budget}",
        "> 1 at the lower end, simultaneously",
        ratios[least],
        holds=all(ratio.low > 1 for ratio in ratios),
    )


def _ratio(means: np.ndarray) -> float:
    return float(means[0] / means[1])


def criterion_claim(name: str, judged: list[tuple[Point, Point]]) -> Claim:
    """The way with the smaller N has the smaller distance, in all pairs."""
    right = [is_closer(*pair) == says_local(*pair) for pair in judged]
    share = float(np.mean(right))
    return Claim.of_band(
        f"{name}: share of {len(judged)} pairs in which the criterion names who is closer together",
        "1",
        (share, share, share),
        holds=all(right),
    )


def says_local(local: Point, gossip: Point) -> bool:
    """The criterion."""
    return local.network_error <= gossip.network_error


def is_closer(local: Point, gossip: Point) -> bool:
    """Whether the workers of local SGD were measured to be closer together."""
    return bool(local.measured[:, APART].mean() <= gossip.measured[:, APART].mean())


def rows(points: list[Point]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table of quadratics."""
    headings = ("", "workers are", "H", "period", "bits", "busiest", "N", *MEASURED.values())
    return headings, [
        (
            point.kind,
            point.problem,
            str(point.budget),
            str(point.period),
            *(f"{copies:.3f}" for copies in ways_at_equal_bits.sent(point.copies)),
            f"{point.network_error:.1f}",
            *(
                f"{middle:.3g} ({known:.3g})"
                for middle, known in zip(point.measured.mean(axis=0), point.expected, strict=True)
            ),
        )
        for point in points
    ]


def save_points(points: list[Point], trainings: list[Training], path: Path) -> None:
    """Every point of the quadratics and of the network."""
    ends = [f"{name}{end}" for name in ("mean", "workers", "apart") for end in ("", "_low", "_high")]
    headings = (
        "problem",
        "kind",
        "budget",
        "period",
        "copies",
        "busiest",
        "N",
        *ends,
        *(f"expected_{e}" for e in ends[::3]),
    )
    lines: list[tuple[object, ...]] = []
    for point in points:
        kind = (point.problem, point.kind, point.budget, point.period)
        measured = (*network_at_equal_bits.ends(point.measured), *map(float, point.expected))
        lines.append((*kind, *ways_at_equal_bits.sent(point.copies), point.network_error, *measured))
    for name, which, period, copies, busiest, *found in network_at_equal_bits.points(trainings):
        lines.append((name, which, None, period, copies, busiest, None, *found, None, None, None))
    tables.save_csv(path, headings, lines)


def plot(config: Config, points: list[Point], trainings: list[Training], path: Path) -> None:
    """A row of the distances and losses on quadratics, one of the criterion, and curves of the network."""
    with figures.paper():
        figure, axes = figures.panels(2, 3, height=4.8)
        budget = config.budgets[0]
        for axis, which in zip(axes[0, :2], (APART, MEAN), strict=True):
            draw_ways(axis, [point for point in points if point.budget == budget], which)
            axis.set_title(f"quadratic, H = {budget}")
        draw_criterion(axes[0, 2], points)
        for axis, alpha in zip(axes[1], config.network.alphas, strict=False):
            network_at_equal_bits.draw_curves(axis, config.network, [one for one in trainings if one.alpha == alpha])
            axis.set_title(f"network, {network_at_equal_bits.title_of(alpha)}")
        network_at_equal_bits.draw_distances(axes[1, 2], config.network, trainings)
        figures.legend(figure, axes, columns=5)
        figures.save(figure, path)


def draw_ways(axis: Axes, points: list[Point], which: int) -> None:
    """One line a way, over what the all-reduce has; expected is a cross."""
    kinds = list(dict.fromkeys(point.kind for point in points))
    for problem, marker, shift in zip(PROBLEMS, "os", (-0.14, 0.14), strict=True):
        own = [point for point in points if point.problem == problem]
        local = next(point for point in own if point.kind == ALL_REDUCE)
        places = np.array([kinds.index(point.kind) for point in own]) + shift
        ratios = [
            bands.of_positive(_ratio, np.stack([point.measured[:, which], local.measured[:, which]], axis=1))
            for point in own
        ]
        middle, low, high = np.array([[float(end) for end in ratio] for ratio in ratios]).T
        axis.hlines(places, low, high, color="black", linewidth=0.8)
        axis.plot(middle, places, marker, color="black", markerfacecolor="none", label=f"workers {problem}")
        known = [point.expected[which] / local.expected[which] for point in own]
        axis.plot(known, places, "x", color=figures.COLORS[1], markersize=2.5, label="expected")
    axis.set_yticks(range(len(kinds)), kinds)
    axis.invert_yaxis()
    axis.set(xlabel=f"{MEASURED[which]} / that of all-reduce")
    if which == APART:
        axis.set(xscale="log")
        figures.plain_ticks(axis, [ratio for ratio in TICKS if _is_inside(ratio, axis.get_xlim())])


def draw_criterion(axis: Axes, points: list[Point]) -> None:
    """Each pair: which is said to be closer together, and which is."""
    for problem, marker in zip(PROBLEMS, "os", strict=True):
        some = pairs([point for point in points if point.problem == problem])
        for is_equal in (True, False):
            own = [pair for pair in some if (pair[0].budget == pair[1].budget) == is_equal]
            said = [gossip.network_error / local.network_error for local, gossip in own]
            is_so = [gossip.measured[:, APART].mean() / local.measured[:, APART].mean() for local, gossip in own]
            fill = figures.COLORS[0] if is_equal else "none"
            color = figures.COLORS[0] if is_equal else figures.GREY
            label = f"{problem}, {'equal' if is_equal else 'unequal'} bits"
            axis.plot(said, is_so, marker, color=color, markerfacecolor=fill, linestyle="none", label=label)
    axis.axvline(1.0, color="black", linewidth=0.6)
    axis.axhline(1.0, color="black", linewidth=0.6)
    axis.set(xscale="log", yscale="log", xlabel="N, gossip / local", ylabel="distance, gossip / local")
    axis.set_title("criterion against measured")
    figures.plain_ticks(axis, [ratio for ratio in TICKS if _is_inside(ratio, axis.get_xlim())])
    figures.plain_decades(axis)


def _is_inside(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]
