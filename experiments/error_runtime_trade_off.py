"""Which period has the lower loss after a given time, and where do the curves cross?

Workers that average every τ steps only have more steps in the same time, and a higher floor. Local SGD and gossip on a
ring run for τ = 1, 2, 5, 10, 20, 50, and their losses are set against simulated seconds by the model of
`averaging_time`: a step computes for one second, an all-reduce takes ρ of them, half of it latency, and an exchange
with the neighbours on the ring what it then must; nothing overlaps. Losses are those of workers where they are, and at
their mean x on the same samples, in means over blocks of steps which every τ divides.

On a quadratic whose workers are alike both losses are known exactly at every step (`mixing_floors`), and so is where
curves cross. At x none that comes down cross: x goes the same way whatever τ is, and on one floor chance decides. A
convolutional network learns CIFAR-10 besides.

Answer (small: 32 workers on a quadratic, 16 seeds; 8 workers with a CNN on CIFAR-10, 5 seeds; 95 % bands). Where
workers are, each period is overtaken by the next shorter one, at the expected times within 7 %: with ρ = 1, τ = 50 by τ
= 1 after 875 [841, 910] units (872), with ρ = 10 after 4970 [4800, 5130] (5040). At x no curves cross that come down.
The network is far from its floor: at ρ = 10 τ = 1 takes 3.7 [3.1, 4.4] times as long as the best of the others to the
same loss at x, at ρ = 0.1 none is ahead of τ = 1 but for local SGD with τ = 2 at x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, run
from elastic_jax.console import page
from elastic_jax.problems import quadratic
from experiments import averaging_time, bands, figures, mixing_floors, record, tables, workers_and_mean
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.ways_of_mixing import Way

QUESTION = (__doc__ or "").splitlines()[0]

PROBLEMS = ("quadratic", "network")
FAMILIES = ("local", "gossip")
WORKERS, MEAN = 0, 1
PLACES = {WORKERS: "of workers", MEAN: "at the mean"}
"""Where losses are."""
TOLERANCE = 0.05
"""How far a loss may be from its expectation beyond its band: single precision."""
CLOSE = 0.1
"""The same of a crossing: curves cross at a small angle."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    periods: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    families: tuple[str, ...] = FAMILIES
    ratios: tuple[float, ...] = (0.1, 1.0, 10.0)
    """ρ: an all-reduce over what a worker computes for a step."""
    latency_share: float = 0.5
    """Of an all-reduce."""
    block: int = 100
    """Steps of a point, of which all periods are divisors."""
    num_workers: int = 32
    """On the quadratic: the more, the more the floor is that of being apart."""
    dim: int = 10
    noise: float = 1.0
    low_curvature: float = 0.05
    """The highest is 1."""
    step_size: float = 0.05
    """α on the quadratic."""
    num_steps: int = 6000
    num_seeds: int = 16
    dataset: str = "cifar10"
    """Of `data`, for the network; "digits" needs no download."""
    reduce: int = 2
    """Side of the squares of pixels that are made one."""
    channels: tuple[int, ...] = (8, 16)
    num_network_workers: int = 8
    batch_size: int = 4
    network_step_size: float = 0.1
    num_network_steps: int = 800
    num_network_seeds: int = 5
    every: int = 3
    """Steps between two losses of the network; no divisor of the block, so that all phases of a period are met."""
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        periods=(1, 10),
        families=("local",),
        ratios=(1.0, 10.0),
        block=20,
        num_workers=16,
        dim=4,
        low_curvature=0.1,
        step_size=0.1,
        num_steps=2000,
        num_seeds=10,
        dataset="digits",
        reduce=1,
        channels=(4,),
        num_network_workers=4,
        num_network_steps=100,
    ),
    "small": Config(),
    "paper": Config(
        ratios=(0.01, 0.1, 1.0, 10.0, 100.0),
        num_steps=20_000,
        num_seeds=64,
        reduce=1,
        channels=(16, 32, 64),
        batch_size=16,
        num_network_steps=40_000,
        num_network_seeds=10,
        every=7,
        block=1000,
    ),
}


class Curve(NamedTuple):
    """One way of mixing on one problem."""

    problem: str
    way: Way
    steps: np.ndarray
    """[m]: t in the middle of each point."""
    losses: np.ndarray
    """[S, 2, m]: of workers and at x, on the quadratic less the minimum."""
    expected: np.ndarray | None
    """[2, m]: exactly, on the quadratic."""


class Pair(NamedTuple):
    """A longer and a shorter period in seconds."""

    longer: Curve
    shorter: Curve
    ratio: float
    place: int
    """`WORKERS` or `MEAN`."""
    band: Band
    """Seconds: from when on the shorter has the lower loss for good; ∞ if not before the end."""
    expected: float
    """The same, exactly, on the quadratic; NaN on the network."""


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Runs all periods, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    curves = []
    for problem in PROBLEMS:
        for family in config.families:
            console.print(f"[bold]{problem}[/bold], {family}")
            curves += [measure(config, problem, way, run_dir) for way in ways(config, family)]

    pairs = all_pairs(config, curves)
    headings, lines = rows(pairs)
    caption = "when the shorter period is ahead for good, in computing times of a step; simultaneous bands; (expected)"
    console.print(tables.as_table(headings, lines, title="crossings", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(config, curves, run_dir / "points.csv")
    plot(config, curves, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(config, curves, pairs), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def ways(config: Config, family: str) -> list[Way]:
    """By their period."""
    return [Way(family, period, "ring" if family == "gossip" else "") for period in config.periods]


def build_problem(config: Config, name: str) -> base.Problem:
    """One of `PROBLEMS`; the minimum of the quadratic is 0, and 0 there."""
    if name == "network":
        return workers_and_mean.network(
            dataset=config.dataset,
            reduce=config.reduce,
            channels=config.channels,
            num_workers=config.num_network_workers,
            batch_size=config.batch_size,
        )
    return quadratic.build(
        num_workers=config.num_workers,
        dim=config.dim,
        noise=config.noise,
        low_curvature=config.low_curvature,
        centre_spread=0.0,
    )


def measure(config: Config, name: str, way: Way, run_dir: Path) -> Curve:
    """One curve; what was measured before is read."""
    problem = build_problem(config, name)
    found = record.kept(run_dir, f"{name}_{way.name}", partial(losses, config, name, problem, way, run_dir))
    steps = averaging_time.over_blocks(np.arange(int(found["num_steps"])), config.block)
    if name == "network":
        return Curve(name, way, steps, found["losses"], None)
    known = mixing_floors.Mixed(
        np.asarray(problem.data["curvatures"], np.float64),
        np.full(config.dim, config.noise**2 / config.dim),
        way.matrix(config.num_workers),
        way.period,
        config.step_size,
    )
    moments = mixing_floors.path(known, np.asarray(start(config, problem)), config.num_steps)
    both = np.stack([moments.workers, moments.mean]) @ (known.curvatures[0] / 2)
    return Curve(name, way, steps, found["losses"], averaging_time.over_blocks(both, config.block))


def start(config: Config, problem: base.Problem) -> base.Params:
    """x_0."""
    return problem.init(jax.random.key(config.seed))


def losses(config: Config, name: str, problem: base.Problem, way: Way, run_dir: Path) -> dict[str, np.ndarray]:
    """All seeds, {losses: float[S, 2, m], of workers and at x; num_steps: int[]}."""
    is_network = name == "network"
    num_steps = config.num_network_steps if is_network else config.num_steps
    every = config.every if is_network else 1
    result = run.run(
        way.build(
            problem.oracle,
            num_workers=problem.num_workers,
            effective=config.network_step_size if is_network else config.step_size,
        ),
        start(config, problem),
        problem.data,
        num_steps=num_steps,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_network_seeds if is_network else config.num_seeds,
        metrics={"losses": workers_and_mean.losses(problem, every)},
        run_dir=run_dir / "runs" / f"{name}_{way.name}" if is_network else None,
    )
    steps, values = result.history["losses"]
    return {
        "losses": np.moveaxis(by_block(steps, values, config.block, num_steps), 1, 2),
        "num_steps": np.asarray(num_steps),
    }


def by_block(steps: np.ndarray, values: np.ndarray, block: int, num_steps: int) -> np.ndarray:
    """Means over the measurements of each block of steps: [k], [S, k, ...] -> [S, m, ...]."""
    number = np.asarray(steps) // block
    return np.stack(
        [values[:, number == index].mean(axis=1, dtype=np.float64) for index in range(num_steps // block)], axis=1
    )


def communication(config: Config, curve: Curve, ratio: float) -> float:
    """Of one averaging, in computing times of a step."""
    num_workers = config.num_network_workers if curve.problem == "network" else config.num_workers
    own = averaging_time.link(ratio, config.latency_share, num_workers=num_workers)
    if curve.way.family == "gossip":
        return averaging_time.exchange(own)
    return averaging_time.all_reduce(own, num_workers=num_workers)


def seconds(config: Config, curve: Curve, ratio: float) -> np.ndarray:
    """[m]: when each point is, the mean over its steps."""
    numbers = np.arange(len(curve.steps) * config.block)
    times = averaging_time.seconds(numbers, curve.way.period, communication(config, curve, ratio))
    return averaging_time.over_blocks(times, config.block)


def all_pairs(config: Config, curves: list[Curve]) -> list[Pair]:
    """Neighbouring periods, and the longest with the shortest, at every ratio and place."""
    found = []
    for problem in PROBLEMS:
        for family in config.families:
            own = [curve for curve in curves if curve.problem == problem and curve.way.family == family]
            both = list(pairwise(own)) + ([(own[0], own[-1])] if len(own) > 2 else [])
            found += [
                compare(config, longer, shorter, ratio, place)
                for place in (WORKERS, MEAN)
                for ratio in config.ratios
                for shorter, longer in both
            ]
    return found


def compare(config: Config, longer: Curve, shorter: Curve, ratio: float, place: int) -> Pair:
    """Where they cross; bands hold for all pairs of one column together."""
    times = seconds(config, longer, ratio), seconds(config, shorter, ratio)
    statistic = partial(crossing_of_means, times=times)
    values = np.stack([longer.losses[:, place], shorter.losses[:, place]], axis=1)
    expected = np.nan
    if longer.expected is not None and shorter.expected is not None:
        expected = statistic(np.stack([longer.expected[place], shorter.expected[place]]))
    return Pair(
        longer,
        shorter,
        ratio,
        place,
        band_of_time(statistic, values, bands.simultaneous(len(config.periods))),
        expected,
    )


def crossing_of_means(means: np.ndarray, *, times: tuple[np.ndarray, np.ndarray]) -> float:
    """Of two curves, [2, m]."""
    longer, shorter = (np.stack([own, losses]) for own, losses in zip(times, means, strict=True))
    return averaging_time.crossing(longer, shorter)


def band_of_time(statistic: Callable[[np.ndarray], float], values: np.ndarray, level: float = bands.LEVEL) -> Band:
    """Of a time > 0; it has no band if it is 0 or ∞ when a seed is left out."""
    whole = statistic(values.mean(axis=0))
    without = [statistic(np.delete(values, seed, axis=0).mean(axis=0)) for seed in range(len(values))]
    if not all(np.isfinite(time) and time > 0 for time in (whole, *without)):
        return Band(np.asarray(whole), np.asarray(np.nan), np.asarray(np.nan))
    return bands.of_positive(statistic, values, level)


def claims(config: Config, curves: list[Curve], pairs: list[Pair]) -> tuple[Claim, ...]:
    """Losses and crossings on the quadratic are the expected ones; on the network long periods are ahead early only."""
    found = []
    for family in config.families:
        exact = [curve for curve in curves if curve.expected is not None and curve.way.family == family]
        found += [loss_claim(f"{family}, quadratic: loss {name}", exact, place) for place, name in PLACES.items()]
        for ratio in config.ratios:
            judged = [
                pair
                for pair in pairs
                if pair.longer.way.family == family and pair.ratio == ratio and 0 < pair.expected < np.inf
            ]
            if judged:
                found.append(crossing_claim(f"{family}, quadratic, ρ = {ratio:g}", judged))
        own = [curve for curve in curves if curve.problem == "network" and curve.way.family == family]
        found += [early_claim(config, own), late_claim(own)]
    return tuple(found)


def loss_claim(name: str, curves: list[Curve], place: int) -> Claim:
    """At every point of every curve it is the expected one."""
    ratios = [curve.losses[:, place] / curve.expected[place] for curve in curves if curve.expected is not None]
    together = np.concatenate(ratios, axis=1)
    ratio = bands.of_mean(together, bands.simultaneous(together.shape[1]))
    worst = int(np.abs(ratio.middle - 1).argmax())
    return Claim.of_band(
        f"{name} / expected, farthest from 1",
        f"1, within {TOLERANCE:g} of the simultaneous bands",
        [float(end[worst]) for end in ratio],
        holds=np.all((ratio.low - TOLERANCE <= 1) & (ratio.high + TOLERANCE >= 1)),
    )


def crossing_claim(name: str, pairs: list[Pair]) -> Claim:
    """All crossings are where they were expected, and those without a band are not."""
    ratio = np.array([[float(end) / pair.expected for end in pair.band] for pair in pairs])
    worst = int(np.abs(np.log(np.maximum(ratio[:, 0], 1e-9))).argmax())
    pair = pairs[worst]
    periods = f"τ = {pair.longer.way.period} and {pair.shorter.way.period}"
    return Claim.of_band(
        f"{name}: crossing / expected, farthest from 1, of {periods}",
        f"1, within {CLOSE:g} of the simultaneous bands",
        ratio[worst],
        holds=np.all((ratio[:, 1] - CLOSE <= 1) & (ratio[:, 2] + CLOSE >= 1)),
    )


def early_claim(config: Config, curves: list[Curve]) -> Claim:
    """What the shortest period has after half of its steps another has sooner, at x and where averaging is dearest."""
    ratio = max(config.ratios)
    statistic = partial(gain, times=[seconds(config, curve, ratio) for curve in curves])
    band = band_of_time(statistic, np.stack([curve.losses[:, MEAN] for curve in curves], axis=1))
    family, period = curves[0].way.family, curves[0].way.period
    name = f"{family}, network, ρ = {ratio:g}: time of τ = {period} to its loss at x half-way / least of others"
    return Claim.of_band(name, "> 1 at the lower end", band, holds=band.low > 1)


def gain(means: np.ndarray, *, times: list[np.ndarray]) -> float:
    """The time of the first curve, [p, m], to its loss in the middle, over the least of the others."""
    own, *others = [np.stack([when, losses]) for when, losses in zip(times, means, strict=True)]
    goal = own[1, own.shape[1] // 2]
    least = min(averaging_time.time_to(other, goal) for other in others)
    return averaging_time.time_to(own, goal) / least


def late_claim(curves: list[Curve]) -> Claim:
    """After as many steps workers with the longest period have the greater loss."""
    last = [curve.losses[:, WORKERS, -max(1, curve.losses.shape[2] // 4) :].mean(axis=1) for curve in curves]
    band = bands.of_mean(last[-1] - last[0])
    ends = f"τ = {curves[-1].way.period} less τ = {curves[0].way.period}"
    name = f"{curves[0].way.family}, network: loss of workers in the last quarter of all steps, {ends}"
    return Claim.of_band(name, "> 0 at the lower end", band, holds=band.low > 0)


def rows(pairs: list[Pair]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    ratios = sorted({pair.ratio for pair in pairs})
    lines: dict[tuple[str, str, str], list[str]] = {}
    for pair in sorted(pairs, key=_ratio):
        way = pair.longer.way
        key = (f"{way.family}, τ = {way.period} and {pair.shorter.way.period}", pair.longer.problem, PLACES[pair.place])
        lines.setdefault(key, []).append(in_words(pair))
    return ("", "problem", "loss", *(f"ρ = {ratio:g}" for ratio in ratios)), [
        (*key, *cells) for key, cells in lines.items()
    ]


def _ratio(pair: Pair) -> float:
    return pair.ratio


def in_words(pair: Pair) -> str:
    """When the shorter is ahead for good, and in parentheses when that is expected."""
    time = float(pair.band.middle)
    measured = "never" if time == np.inf else "always" if time == 0 else tables.with_band(pair.band)
    if np.isnan(pair.expected):
        return measured
    return f"{measured} ({'never' if pair.expected == np.inf else f'{pair.expected:.3g}'})"


def save_points(config: Config, curves: list[Curve], path: Path) -> None:
    """Every point of every curve at every ratio."""
    headings = (
        *("problem", "family", "period", "ratio", "step", "seconds", "workers", "workers_low", "workers_high"),
        *("mean", "mean_low", "mean_high", "expected_workers", "expected_mean"),
    )
    lines = []
    for curve in curves:
        ends = [end for place in PLACES for end in bands.of_mean(curve.losses[:, place])]
        known = np.full((2, len(curve.steps)), np.nan) if curve.expected is None else curve.expected
        for ratio in config.ratios:
            columns = (curve.steps, seconds(config, curve, ratio), *ends, *known)
            fixed = (curve.problem, curve.way.family, curve.way.period, ratio)
            lines += [(*fixed, *map(float, point)) for point in zip(*columns, strict=True)]
    tables.save_csv(path, headings, lines)


def plot(config: Config, curves: list[Curve], path: Path) -> None:
    """A row for each problem and family, a column for each ratio."""
    panels = [(problem, family) for problem in PROBLEMS for family in config.families]
    with figures.paper():
        figure, axes = figures.panels(len(panels), len(config.ratios), height=1.9 * len(panels) + 0.5)
        for row, (problem, family) in zip(axes, panels, strict=True):
            own = [curve for curve in curves if curve.problem == problem and curve.way.family == family]
            for axis, ratio in zip(row, config.ratios, strict=True):
                draw(axis, config, own, ratio)
                axis.set_title(f"{problem}, {family}, ρ = {ratio:g}")
            row[0].set_ylabel("loss less minimum" if problem == "quadratic" else "training loss")
        for axis in axes[-1]:
            axis.set_xlabel("seconds of a step's computing")
        figures.legend(figure, axes, columns=4)
        figures.save(figure, path)


def draw(axis: Axes, config: Config, curves: list[Curve], ratio: float) -> None:
    """One panel, up to when the slowest has made all its steps."""
    for number, curve in enumerate(curves):
        color, times = figures.COLORS[number], seconds(config, curve, ratio)
        label = f"τ = {curve.way.period}"
        figures.draw(axis, times, bands.of_mean(curve.losses[:, WORKERS]), color=color, label=label)
        axis.plot(times, curve.losses[:, MEAN].mean(axis=0), color=color, linestyle=":", linewidth=0.8)
    axis.plot([], [], color=figures.GREY, linestyle=":", linewidth=0.8, label="dotted: at the mean x")
    axis.set(xscale="log", yscale="log")
    figures.plain_decades(axis)
    figures.plain_decades(axis, which="x")
