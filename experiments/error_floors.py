"""How does the error floor depend on the period, the topology and the elasticity?

At a fixed step size noise keeps SGD above a floor. Where workers mix their parameters by W every τ steps only, the
theory of Cooperative SGD (arXiv 1808.07576) adds to the floor of the mean gradient a network error,

    α² L² σ² (1 + v/n)² (τ (1 + ζ²) / (1 - ζ²) - 1),    ζ = ‖W - J‖₂

with n workers, v anchors and α the effective step size, α_worker n / (n + v), which is the same for all here. For local
SGD this is linear in τ - 1; for elastic averaging it is least at a* = 2 / (n + 2). Measured are, over the second half
of a run on a quadratic that starts at the minimum,

    mean       the mean of ‖∇f(x_t)‖², x the mean of all rows, which is what the theorem bounds
    workers    the mean of ‖∇f(x_t^i)‖² over workers
    network    workers - mean

and all three are known exactly (`mixing_floors`). Workers have one curvature (`alike`) or each its own (`different`).
Then a convolutional network learns CIFAR-10, and its training loss in the last quarter of the run is measured where the
workers are and at x, on the same samples.

Answer (small: 16 workers in 20 dimensions, 16 seeds; 8 workers with a CNN on CIFAR-10, 5 seeds; 95 % bands). Floors of
workers less that of x are the exact ones within 0.2 %, and grow with N to the power of 0.944 [0.943, 0.945] for local
SGD and 0.890 [0.889, 0.891] over graphs, where N is the mean over modes, not that of ζ. The floor of x does not depend
on τ, W or a on alike workers, and rises by 2.8 % [2.6, 3.0] to τ = 20 on different ones. At most 0.20 of the theorem's
network error is reached. a* has the least bound, and a floor 4 % above the least. On the network workers lose 0.162
[0.148, 0.176] over their mean at τ = 16; that weaker springs make them lose more over it fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, run
from elastic_jax.console import page
from elastic_jax.problems import quadratic
from experiments import bands, figures, mixing_floors, record, tables, workers_and_mean
from experiments.answer import Answer, Claim
from experiments.ways_of_mixing import FAMILIES, Way

QUESTION = (__doc__ or "").splitlines()[0]

PROBLEMS = ("alike", "different")
TOLERANCE = 0.01
"""How far a floor may be from its prediction beyond its band: single precision."""
EQUAL = 1e-3
"""How far floors of the same x may differ by rounding."""
NEAR = 1.1
"""Times the least network error of all elasticities: as near to it as that at a* should come."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    num_workers: int = 16
    dim: int = 20
    noise: float = 1.0
    low_curvature: float = 0.2
    """The highest is 1."""
    curvature_spread: float = 0.8
    """Of the different workers."""
    step_size: float = 0.02
    """The effective α on quadratics."""
    num_steps: int = 10_000
    num_seeds: int = 16
    periods: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Of local SGD."""
    topologies: tuple[str, ...] = ("ring", "torus", "exponential", "star")
    gossip_periods: tuple[int, ...] = (1, 5)
    pulls: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.02, 1.04)
    """a over a*, below 1 + 1 / (n + 1); mixing in every step."""
    problems: tuple[str, ...] = PROBLEMS
    dataset: str = "cifar10"
    """Of `data`, for the network; "digits" needs no download."""
    reduce: int = 2
    """Side of the squares of pixels that are made one."""
    channels: tuple[int, ...] = (8, 16)
    num_network_workers: int = 8
    batch_size: int = 4
    network_step_size: float = 0.1
    """The effective α of the network."""
    num_network_steps: int = 1000
    num_network_seeds: int = 5
    every: int = 4
    """Steps between two losses, or a few less, see `due`."""
    network_periods: tuple[int, ...] = (1, 4, 16)
    network_ring_periods: tuple[int, ...] = (1, 4)
    network_pulls: tuple[float, ...] = (0.2, 1.0)
    network_elastic_period: int = 4
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        num_workers=4,
        dim=4,
        step_size=0.05,
        num_steps=4000,
        num_seeds=5,
        periods=(1, 10),
        topologies=("ring",),
        gossip_periods=(1, 5),
        pulls=(0.3, 1.0),
        problems=("alike",),
        dataset="digits",
        reduce=1,
        channels=(4,),
        num_network_workers=4,
        num_network_steps=60,
        network_periods=(1, 15),
        network_ring_periods=(),
        network_pulls=(),
    ),
    "small": Config(),
    "paper": Config(
        num_steps=200_000,
        num_seeds=64,
        reduce=1,
        channels=(16, 32, 64),
        batch_size=16,
        num_network_steps=20_000,
        num_network_seeds=10,
        network_periods=(1, 2, 5, 10, 20, 50),
        network_ring_periods=(1, 5, 20),
        network_pulls=(0.1, 0.5, 1.0, 1.1),
    ),
}


class Point(NamedTuple):
    """One way of mixing on one quadratic."""

    problem: str
    way: Way
    mean: np.ndarray
    """[S], gradient units squared."""
    workers: np.ndarray
    """[S], gradient units squared."""
    predicted_mean: float
    predicted_workers: float
    network_error: float
    """τ (1 + λ²) / (1 - λ²) - 1 with the noise in the modes where it is, see `mixing_floors`."""
    worst_network_error: float
    """The same with ζ."""
    promised: float
    """The theorem's whole network error, gradient units squared."""

    @property
    def network(self) -> np.ndarray:
        """[S], gradient units squared."""
        return self.workers - self.mean

    @property
    def predicted_network(self) -> float:
        """As `network`."""
        return self.predicted_workers - self.predicted_mean


class Training(NamedTuple):
    """One way of mixing on the network."""

    way: Way
    worst_network_error: float
    at_workers: np.ndarray
    """[S]: training loss of the last quarter."""
    at_mean: np.ndarray
    """[S]: the same at x, on the same samples."""

    @property
    def apart(self) -> np.ndarray:
        """[S]: what being apart costs the workers."""
        return self.at_workers - self.at_mean


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Runs all ways of mixing, shows the tables, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    points = []
    for problem in config.problems:
        console.print(f"[bold]quadratic[/bold], workers {problem}")
        points += [measure(config, problem, way, run_dir) for way in ways(config, problem)]
    console.print(f"[bold]network[/bold], {config.dataset}")
    trainings = [train(config, way, run_dir) for way in network_ways(config)]

    lines = []
    for headings, own, title, caption in (
        (*rows(points), f"{config.num_seeds} seeds", "floors over what is predicted; N: see points.csv; 95 % bands"),
        (*network_rows(trainings), f"{config.num_network_seeds} seeds", "training loss, last quarter; 95 % bands"),
    ):
        console.print(tables.as_table(headings, own, title=title, caption=caption))
        lines.append(tables.as_markdown(headings, own))
    (run_dir / "table.md").write_text("\n".join(lines), encoding="utf-8")
    save_points(points, trainings, run_dir / "points.csv")
    plot(points, trainings, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(points) + network_claims(trainings), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def ways(config: Config, problem: str) -> list[Way]:
    """Of mixing on a quadratic; where workers are different, only local SGD."""
    local = [Way("local", period) for period in config.periods]
    if problem == "different":
        return local
    gossip = [Way("gossip", period, name) for name in config.topologies for period in config.gossip_periods]
    return local + gossip + [Way("elastic", 1, pull=pull) for pull in config.pulls]


def network_ways(config: Config) -> list[Way]:
    """Of mixing on the network, local SGD first and by its period."""
    elastic = [Way("elastic", config.network_elastic_period, pull=pull) for pull in config.network_pulls]
    ring = [Way("gossip", period, "ring") for period in config.network_ring_periods]
    return [Way("local", period) for period in config.network_periods] + ring + elastic


def build_problem(config: Config, name: str) -> base.Problem:
    """One of `PROBLEMS`; its minimum is 0."""
    return quadratic.build(
        num_workers=config.num_workers,
        dim=config.dim,
        noise=config.noise,
        low_curvature=config.low_curvature,
        curvature_spread=config.curvature_spread if name == "different" else 0.0,
        centre_spread=0.0,
        seed=config.seed,
    )


def mixed(config: Config, problem: base.Problem, way: Way) -> mixing_floors.Mixed:
    """What decides the floors."""
    return mixing_floors.Mixed(
        np.asarray(problem.data["curvatures"], np.float64),
        np.full(config.dim, config.noise**2 / config.dim),
        way.matrix(config.num_workers),
        way.period,
        way.step_size(config.step_size, config.num_workers),
    )


def measure(config: Config, name: str, way: Way, run_dir: Path) -> Point:
    """One point; what was measured before is read."""
    problem = build_problem(config, name)
    found = record.kept(run_dir, f"{name}_{way.name}", partial(floors, config, problem, way))
    known = mixed(config, problem, way)
    curvatures = known.curvatures.mean(axis=0)
    moments = mixing_floors.stationary(known)
    worst = mixing_floors.worst_network_error(known.matrix, way.period)
    smoothness = problem.constants.smoothness or 0.0
    return Point(
        name,
        way,
        found["mean"],
        found["workers"],
        float(curvatures**2 @ moments.mean),
        float(curvatures**2 @ moments.workers),
        mixing_floors.network_error(known.matrix, way.period, num_workers=config.num_workers),
        worst,
        # α of a worker is (1 + v/n) times the effective one
        (known.step_size * smoothness * config.noise) ** 2 * worst,
    )


def floors(config: Config, problem: base.Problem, way: Way) -> dict[str, np.ndarray]:
    """Means over whole periods in the second half of a run from the minimum, {mean, workers: float[S]}."""
    result = run.run(
        way.build(problem.oracle, num_workers=config.num_workers, effective=config.step_size),
        jnp.zeros(config.dim),
        problem.data,
        num_steps=config.num_steps,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_seeds,
        metrics={"grad_norms_sq": workers_and_mean.grad_norms_sq(problem, 1)},
        check="every_step",  # one program less to compile, and these steps cost nothing
    )
    norms = result.history["grad_norms_sq"][1]
    workers, mean = whole_periods(norms, way.period).mean(axis=1, dtype=np.float64).T
    return {"workers": workers, "mean": mean}


def whole_periods(values: np.ndarray, period: int) -> np.ndarray:
    """The last half of axis 1, or a little less: [S, T, ...] -> [S, m, ...], m a multiple of `period`."""
    length = values.shape[1] // 2 // period * period
    return values[:, -length:]


def train(config: Config, way: Way, run_dir: Path) -> Training:
    """One way on the network; what was measured before is read."""
    found = record.kept(run_dir, f"network_{way.name}", partial(train_network, config, way, run_dir))
    matrix = way.matrix(config.num_network_workers)
    at_workers, at_mean = last_quarter(found["losses"]).T
    return Training(way, mixing_floors.worst_network_error(matrix, way.period), at_workers, at_mean)


def train_network(config: Config, way: Way, run_dir: Path) -> dict[str, np.ndarray]:
    """All seeds, {losses: float[S, m, 2], of workers and at x}."""
    problem = workers_and_mean.network(
        dataset=config.dataset,
        reduce=config.reduce,
        channels=config.channels,
        num_workers=config.num_network_workers,
        batch_size=config.batch_size,
    )
    result = run.run(
        way.build(problem.oracle, num_workers=config.num_network_workers, effective=config.network_step_size),
        problem.init(jax.random.key(config.seed)),
        problem.data,
        num_steps=config.num_network_steps,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_network_seeds,
        metrics={"losses": workers_and_mean.losses(problem, due(config.every, way.period))},
        run_dir=run_dir / "runs" / way.name,
    )
    return {"losses": result.history["losses"][1].astype(np.float64)}


def due(every: int, period: int) -> int:
    """The greatest cadence up to `every` that has no factor in common with the period, so that all phases are met."""
    return next(steps for steps in range(every, 0, -1) if np.gcd(steps, period) == 1)


def last_quarter(values: np.ndarray) -> np.ndarray:
    """[S, m, ...] -> [S, ...]."""
    return np.asarray(values[:, -(values.shape[1] // 4) :].mean(axis=1))


def claims(points: list[Point]) -> tuple[Claim, ...]:
    """On quadratics: floors are the predicted ones, and so are the laws in period, topology and elasticity."""
    found = []
    for problem in dict.fromkeys(point.problem for point in points):
        own = [point for point in points if point.problem == problem]
        for family in FAMILIES:
            some = [point for point in own if point.way.family == family]
            # x^i = x where all average in every step: what is left is rounding
            apart = [point for point in some if point.network_error > 1e-9]
            if some:
                means = np.stack([point.mean / point.predicted_mean for point in some], axis=1)
                found.append(as_predicted(f"{family}, {problem}: mean", means))
            if apart:
                networks = np.stack([point.network / point.predicted_network for point in apart], axis=1)
                found.append(as_predicted(f"{family}, {problem}: network", networks))
                ratio = bands.of_mean(
                    np.stack([point.network / point.promised for point in apart], axis=1),
                    bands.simultaneous(len(apart)),
                )
                top = int(ratio.middle.argmax())
                found.append(
                    Claim.of_band(
                        f"{family}, {problem}: largest network / theorem's network error",
                        "<= 1 at the lower end, simultaneously",
                        [float(end[top]) for end in ratio],
                        holds=np.all(ratio.low <= 1),
                    )
                )
            if len(apart) > 1 and family != "elastic":
                found.append(slope_claim(f"{family}, {problem}", apart))
            if family == "elastic" and any(point.way.pull == 1 for point in some):
                found.append(elastic_claim(some))
        found += mean_claims(problem, own)
    return tuple(found)


def as_predicted(name: str, ratios: np.ndarray) -> Claim:
    """Measured over predicted floors, [S, m], are all 1."""
    ratio = bands.of_mean(ratios, bands.simultaneous(ratios.shape[1]))
    worst = int(np.abs(ratio.middle - 1).argmax())
    return Claim.of_band(
        f"{name} / predicted, farthest from 1",
        f"1, within {TOLERANCE:g} of the simultaneous bands",
        [float(end[worst]) for end in ratio],
        holds=np.all((ratio.low - TOLERANCE <= 1) & (ratio.high + TOLERANCE >= 1)),
    )


def slope_claim(name: str, apart: list[Point]) -> Claim:
    """The network part against τ (1 + λ²) / (1 - λ²) - 1, in logarithms: 1 is linear."""
    positions = np.array([point.network_error for point in apart])
    band = bands.of_slope(positions, np.stack([point.network for point in apart], axis=1))
    predicted = float(bands.slope(positions, np.array([point.predicted_network for point in apart])))
    return Claim.of_band(
        f"{name}: slope of log network in log (τ (1 + λ²) / (1 - λ²) - 1)",
        f"{predicted:.3f} predicted, 1 if linear, within {TOLERANCE:g} of the band",
        band,
        holds=band.low - TOLERANCE <= predicted <= band.high + TOLERANCE,
    )


def elastic_claim(some: list[Point]) -> Claim:
    """The network part at a* is near the least of all."""
    best = next(index for index, point in enumerate(some) if point.way.pull == 1)
    networks = np.stack([point.network for point in some], axis=1)
    least = int(networks.mean(axis=0).argmin())
    band = bands.of_positive(first_over_second, networks[:, [best, least]])
    return Claim.of_band(
        f"elastic: network at a* = 2/(n + 2) / least network, at {some[least].way.pull:g} a*",
        f"<= {NEAR:g} at the lower end",
        band,
        holds=band.low <= NEAR,
    )


def mean_claims(problem: str, own: list[Point]) -> list[Claim]:
    """The floor of x: the same for all without an anchor where workers are alike."""
    free = [point for point in own if point.way.family != "elastic"]
    if len(free) < 2:
        return []
    means = np.stack([point.mean for point in free], axis=1)
    predicted = np.array([point.predicted_mean for point in free])
    low, high = int(predicted.argmin()), int(predicted.argmax())
    if problem == "alike":
        low, high = int(means.mean(axis=0).argmin()), int(means.mean(axis=0).argmax())
    expected = float(predicted[high] / predicted[low])
    band = bands.of_positive(first_over_second, means[:, [high, low]])
    tolerance = EQUAL if problem == "alike" else TOLERANCE
    return [
        Claim.of_band(
            f"{problem}: floor of the mean, {free[high].way.title} / {free[low].way.title}",
            f"{expected:.3f} predicted, within {tolerance:g} of the band",
            band,
            holds=band.low - tolerance <= expected <= band.high + tolerance,
        )
    ]


def first_over_second(means: np.ndarray) -> float:
    """Of two numbers."""
    return float(means[0] / means[1])


def network_claims(trainings: list[Training]) -> tuple[Claim, ...]:
    """On the network: the longer the period and the weaker the pull, the more it costs to be apart."""
    found = []
    for family in FAMILIES:
        own = sorted((one for one in trainings if one.way.family == family), key=_worst)
        if len(own) < 2:
            continue
        least, most = own[0], own[-1]
        which = f"{most.way.title} less {least.way.title}"
        apart = bands.of_mean(most.apart - least.apart)
        name = f"network: loss of workers less loss at their mean, {which}"
        found.append(Claim.of_band(name, "> 0 at the lower end", apart, holds=apart.low > 0))
        loss = bands.of_mean(most.at_workers - least.at_workers)
        name = f"network: loss of workers, {which}"
        found.append(Claim.of_band(name, "> 0 at the lower end", loss, holds=loss.low > 0))
    return tuple(found)


def _worst(training: Training) -> float:
    return training.worst_network_error


def rows(points: list[Point]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table of quadratics."""
    headings = ("", "workers are", "N, modes", "N, ζ", "mean", "network", "mean / predicted", "network / predicted")
    return headings, [
        (
            point.way.title,
            point.problem,
            f"{point.network_error:.2f}",
            f"{point.worst_network_error:.2f}",
            f"{point.mean.mean():.3g}",
            f"{point.network.mean():.3g}",
            tables.with_band(bands.of_mean(point.mean / point.predicted_mean)),
            tables.with_band(bands.of_mean(point.network / point.predicted_network))
            if point.network_error > 1e-9
            else "–",
        )
        for point in points
    ]


def network_rows(trainings: list[Training]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table of the network."""
    headings = ("network", "N, ζ", "loss of workers", "loss at the mean", "difference")
    return headings, [
        (
            one.way.title,
            f"{one.worst_network_error:.2f}",
            *(tables.with_band(bands.of_mean(values)) for values in (one.at_workers, one.at_mean, one.apart)),
        )
        for one in trainings
    ]


def save_points(points: list[Point], trainings: list[Training], path: Path) -> None:
    """Every point; on the network, losses in the place of floors."""
    headings = (
        *("problem", "family", "topology", "period", "pull", "N_modes", "N_zeta"),
        *("mean", "mean_low", "mean_high", "workers", "workers_low", "workers_high"),
        *("network", "network_low", "network_high", "predicted_mean", "predicted_workers", "theorem"),
    )
    lines = []
    for point in points:
        known = (point.predicted_mean, point.predicted_workers, point.promised)
        errors = (point.network_error, point.worst_network_error)
        measured = (point.mean, point.workers, point.network)
        lines.append((point.problem, *_of_way(point.way), *errors, *_ends(measured), *known))
    for one in trainings:
        measured = (one.at_mean, one.at_workers, one.apart)
        errors = (np.nan, one.worst_network_error)
        lines.append(("network", *_of_way(one.way), *errors, *_ends(measured), np.nan, np.nan, np.nan))
    tables.save_csv(path, headings, lines)


def _of_way(way: Way) -> tuple[str, str, int, float]:
    return way.family, way.topology, way.period, way.pull if way.family == "elastic" else np.nan


def _ends(measured: tuple[np.ndarray, ...]) -> list[float]:
    return [float(end) for values in measured for end in bands.of_mean(values)]


def plot(points: list[Point], trainings: list[Training], path: Path) -> None:
    """The network part against the period, against ζ, against the elasticity; and the losses of the network."""
    with figures.paper():
        figure, axes = figures.panels(2, 2, height=4.8)
        alike = [point for point in points if point.problem == points[0].problem]
        draw_periods(axes[0, 0], points)
        draw_topologies(axes[0, 1], alike)
        draw_pulls(axes[1, 0], [point for point in alike if point.way.family == "elastic"])
        draw_losses(axes[1, 1], trainings)
        figures.legend(figure, axes, columns=4)
        figures.save(figure, path)


def draw_periods(axis: Axes, points: list[Point]) -> None:
    """Floors of local SGD against τ - 1, which is linear on this axis."""
    for number, problem in enumerate(dict.fromkeys(point.problem for point in points)):
        own = [point for point in points if point.problem == problem and point.way.family == "local"]
        periods = np.array([point.way.period for point in own])
        for values, predicted, marker, name in (
            ([point.workers for point in own], [point.predicted_workers for point in own], "o", "workers"),
            ([point.mean for point in own], [point.predicted_mean for point in own], "s", "mean"),
        ):
            color = figures.COLORS[number]
            band = bands.of_mean(np.stack(values, axis=1))
            figures.draw(
                axis, periods - 1, band, color=color, marker=marker, linestyle="none", label=f"{name}, {problem}"
            )
            axis.plot(periods - 1, predicted, color=color, linewidth=0.8)
    axis.set(xlabel="τ - 1", ylabel="mean of ‖∇f‖²", title="local SGD")
    axis.plot([], [], color=figures.GREY, linewidth=0.8, label="thin: predicted")


def draw_topologies(axis: Axes, points: list[Point]) -> None:
    """The network part against both network errors, where it is not zero."""
    own = [point for point in points if point.way.family != "elastic" and point.network_error > 1e-9]
    networks = bands.of_mean(np.stack([point.network for point in own], axis=1))
    errors = np.array([networks.middle - networks.low, networks.high - networks.middle])
    for marker, name, color, positions in (
        ("o", "noise where it is", figures.COLORS[2], [point.network_error for point in own]),
        ("D", "as if all were in the slowest mode, ζ", figures.COLORS[3], [point.worst_network_error for point in own]),
    ):
        axis.errorbar(positions, networks.middle, errors, color=color, marker=marker, linestyle="none", label=name)
    most = max(own, key=_network_error)
    ends = np.array([min(point.network_error for point in own), most.network_error])
    axis.plot(ends, ends * max(_unit(point) for point in own), color="black", linestyle="--", label="linear")
    axis.set(xscale="log", yscale="log", xlabel="τ (1 + λ²) / (1 - λ²) - 1", ylabel="network", title="local and gossip")
    figures.plain_decades(axis)


def _network_error(point: Point) -> float:
    return point.network_error


def _unit(point: Point) -> float:
    return point.predicted_network / point.network_error


def draw_pulls(axis: Axes, points: list[Point]) -> None:
    """The network part of elastic averaging, with the theorem's above."""
    if points:
        pulls = np.array([point.way.pull for point in points])
        band = bands.of_mean(np.stack([point.network for point in points], axis=1))
        color = figures.COLORS[5]
        figures.draw(axis, pulls, band, color=color, marker="^", linestyle="none", label="network, elastic")
        axis.plot(pulls, [point.predicted_network for point in points], color=color, linewidth=0.8)
        axis.plot(pulls, [point.promised for point in points], color=figures.GREY, linestyle=":", label="theorem's")
        axis.axvline(1.0, color="black", linestyle="--")
    axis.set(yscale="log", xlabel="a / a*, a* = 2 / (n + 2)", ylabel="network", title="elastic averaging")


def draw_losses(axis: Axes, trainings: list[Training]) -> None:
    """One line a way of mixing, of workers and of their mean."""
    for values, color, shift, name in (
        ([one.at_workers for one in trainings], figures.COLORS[4], -0.12, "loss of workers"),
        ([one.at_mean for one in trainings], figures.COLORS[6], 0.12, "loss at their mean"),
    ):
        band = bands.of_mean(np.stack(values, axis=1))
        errors = np.array([band.middle - band.low, band.high - band.middle])
        places = np.arange(len(trainings)) + shift
        axis.errorbar(band.middle, places, xerr=errors, color=color, marker="o", linestyle="none", label=name)
    axis.set_yticks(range(len(trainings)), [one.way.title for one in trainings])
    axis.invert_yaxis()
    axis.set(xlabel="training loss, last quarter", title="network")
