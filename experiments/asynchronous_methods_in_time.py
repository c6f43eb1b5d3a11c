"""Which asynchronous method reaches a loss in the fewest seconds, with workers alike, unequal, or very late at times?

Softmax regression on MNIST with n workers, whose shards are alike, and one event machine for all methods:

    async            each gradient is applied as it comes
    delay-adaptive   with α n/max(n, τ), τ its delay                                    arXiv 2206.07638
    Ringmaster       and left out where n or more updates were made meanwhile           arXiv 2501.16168
    Ringmaster, stops    whoever could only come too late is stopped and begins anew
    Rennala          the mean of the first B gradients at x, others are left out        arXiv 2305.12387
    K-batch-async    the mean of the next K gradients                                   arXiv 1803.01113
    FedBuff          of the next K pushes of two steps each, less for old ones          arXiv 2106.06639

    clocks: exponential times of mean 1; workers of which each is slower than the one before, the last 30 times as slow
    as the first; Pareto times of shape 1.2, whose variance is infinite; all with a mean of the rates of 1 a second

The step size of each method is the one, of a grid of powers of 2, with which it comes to the goal first, on seeds that
are not judged. B = K = n/4.

Answer (size small): with heavy tails Ringmaster that stops late workers, in 0.75 [0.63, 0.88] of the time of plain
asynchronous SGD; with workers that are alike it is not told apart from it, 0.84 [0.57, 1.22]. Where some workers are
always slow, plain asynchronous SGD, and K-batch-async beside it, 1.03 [0.96, 1.10]. Rennala takes 2.1 to 2.3 times as
long, FedBuff 1.3 to 1.6 times. With unequal workers delay-adaptive steps cost 11 % [2, 21], and leaving late
gradients out without stopping anybody 18 % [10, 26]. The best step size of Ringmaster with stops is
twice that of the others there, which proved to be too large on other seeds: 1.48 [0.48, 4.5].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from elastic_jax import algorithms, base, clocks, data, schedules
from elastic_jax.console import page
from elastic_jax.problems import logistic
from experiments import (
    averaging_time,
    bands,
    error_runtime_trade_off,
    figures,
    record,
    sweeps,
    tables,
    training_at_times,
)
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.training_at_times import Course

QUESTION = (__doc__ or "").splitlines()[0]
SLOWEST = 30.0
"""How many times as slow as the first the last worker is."""
TAIL = 1.2
"""Shape of the Pareto times."""
PLAIN = "async"


def _alike(num_workers: int) -> clocks.Clock:
    del num_workers
    return clocks.exponential()


def _unequal(num_workers: int) -> clocks.Clock:
    speeds = np.geomspace(1.0, 1 / SLOWEST, num_workers)
    return clocks.per_worker(clocks.exponential(), tuple(float(speed) for speed in speeds / speeds.mean()))


def _heavy(num_workers: int) -> clocks.Clock:
    del num_workers
    return clocks.pareto(TAIL, (TAIL - 1) / TAIL)  # mean 1


CLOCKS: Mapping[str, Callable[[int], clocks.Clock]] = {
    "alike": _alike,
    "unequal workers": _unequal,
    "heavy tails": _heavy,
}


def _quarter(num_workers: int) -> int:
    return max(1, num_workers // 4)


METHODS: Mapping[str, tuple[str, Callable[[int, clocks.Clock], Mapping[str, Any]]]] = {
    PLAIN: ("k_async_sgd", lambda _, clock: {"clock": clock}),
    "delay-adaptive": (
        "delay_adaptive_sgd",
        lambda n, clock: {"threshold": n, "schedule": schedules.pure(n, clock=clock)},
    ),
    "Ringmaster": ("ringmaster_sgd", lambda n, clock: {"threshold": n, "clock": clock}),
    "Ringmaster, stops": ("ringmaster_sgd", lambda n, clock: {"threshold": n, "stops": True, "clock": clock}),
    "Rennala": ("rennala_sgd", lambda n, clock: {"batch_size": _quarter(n), "clock": clock}),
    "K-batch-async": ("k_batch_async_sgd", lambda n, clock: {"num_awaited": _quarter(n), "clock": clock}),
    "FedBuff": ("fedbuff_sgd", lambda n, clock: {"num_awaited": _quarter(n), "local_steps": 2, "clock": clock}),
}
"""{label: name of the variant, and its arguments for n workers and a clock}."""

NEAR = 0.05
"""By which share of the time a method may be slower, in the mean, and still be called as fast."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    dataset: str = "mnist"
    """Of `data`; "digits" needs no download."""
    num_examples: int = 6_000
    num_test: int = 2_000
    num_workers: int = 16
    batch_size: int = 4
    reg: float = 0.01
    """Of (reg/2)‖x‖²."""
    methods: tuple[str, ...] = tuple(METHODS)
    clocks: tuple[str, ...] = tuple(CLOCKS)
    goal: float = 0.6
    """Loss to be reached; it must be above the minimum, 0.514 at size small."""
    step_sizes: tuple[float, ...] = (2**-7, 2**-6, 2**-5, 2**-4, 2**-3, 2**-2, 2**-1)
    """α."""
    horizon: float = 150.0
    """Simulated seconds."""
    num_times: int = 60
    """Measurements, evenly in time."""
    num_tuning_seeds: int = 4
    num_seeds: int = 16
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        dataset="digits",
        num_examples=400,
        num_test=200,
        num_workers=4,
        methods=(PLAIN, "Rennala"),
        clocks=("alike",),
        goal=1.0,
        step_sizes=(2**-5, 2**-3),
        horizon=60.0,
        num_times=15,
        num_tuning_seeds=1,
        num_seeds=3,
    ),
    "small": Config(),
    "paper": Config(num_examples=60_000, num_test=10_000, num_workers=64, batch_size=1, num_times=200, num_seeds=20),
}


class Racer(NamedTuple):
    """One method under one clock, at its best step size."""

    clock: str
    method: str
    step_size: float
    tuning: dict[float, float]
    """{α: seconds to the goal, on the seeds that tune}."""
    course: Course


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Tunes and runs each method under each clock, shows the table, writes points, figure and answer."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    problem = build_problem(config)
    racers = []
    for clock in config.clocks:
        for method in config.methods:
            console.print(f"{clock}: {method}")
            kept = record.kept(run_dir, f"{clock}, {method}", partial(race, config, problem, clock, method))
            racers.append(racer_of(config, clock, method, kept))
    headings, lines = rows(racers, config)
    caption = (
        f"simulated seconds until the training loss is {config.goal:g}; in brackets bands over {config.num_seeds} seeds"
    )
    console.print(tables.as_table(headings, lines, title="The best step size of each", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(racers, config, run_dir / "points.csv")
    plot(racers, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(racers, config), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def build_problem(config: Config) -> base.Problem:
    """Softmax regression whose step size is among its data."""
    images = data.load(config.dataset)
    images = images._replace(
        train_inputs=images.train_inputs[: config.num_examples],
        train_targets=images.train_targets[: config.num_examples],
        test_inputs=images.test_inputs[: config.num_test],
        test_targets=images.test_targets[: config.num_test],
    )
    problem = logistic.build(
        num_workers=config.num_workers,
        dataset=images,
        reg=config.reg,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    return sweeps.sweepable(problem)


def times_of(config: Config) -> np.ndarray:
    """Seconds of the measurements: [m]."""
    return np.linspace(0.0, config.horizon, config.num_times + 1)


def race(config: Config, problem: base.Problem, clock: str, method: str) -> dict[str, np.ndarray]:
    """The fields of a `Course` at the best step size, that step size, and {seconds: of each step size of the grid}."""
    variant, arguments = METHODS[method]
    algorithm = algorithms.variant(variant).build(
        problem.oracle,
        num_workers=config.num_workers,
        step_size=1.0,
        **arguments(config.num_workers, CLOCKS[clock](config.num_workers)),
    )
    params = problem.init(jax.random.key(config.seed))
    shards, _ = problem.data

    def run(step_size: float, key: int, num_seeds: int) -> Course:
        return training_at_times.follow(
            algorithm,
            problem,
            params,
            (shards, np.full(config.num_workers, step_size, np.float32)),
            times=times_of(config),
            seed_keys=jax.random.split(jax.random.key(key), num_seeds),
        )

    seconds = []
    for step_size in config.step_sizes:
        course = run(step_size, config.seed + 1, config.num_tuning_seeds)
        seconds.append(seconds_to_goal(course.losses.mean(axis=0), config))
    best = config.step_sizes[int(np.argmin(seconds))]
    course = run(best, config.seed + 2, config.num_seeds)
    return {**course._asdict(), "step_size": np.asarray(best), "tuning": np.asarray(seconds)}


def racer_of(config: Config, clock: str, method: str, kept: Mapping[str, np.ndarray]) -> Racer:
    """From what `race` has kept."""
    tuning = dict(zip(config.step_sizes, kept["tuning"].tolist(), strict=True))
    course = Course(**{name: kept[name] for name in Course._fields})
    return Racer(clock, method, float(kept["step_size"]), tuning, course)


def seconds_to_goal(losses: np.ndarray, config: Config) -> float:
    """When a mean curve [m] comes to the goal; ∞ if it does not."""
    return averaging_time.time_to(np.stack([times_of(config), losses]), config.goal)


def time_of(racer: Racer, config: Config) -> Band:
    """Seconds to the goal, with a band over seeds."""
    return error_runtime_trade_off.band_of_time(partial(seconds_to_goal, config=config), racer.course.losses)


def ratio_of(one: Racer, other: Racer, config: Config, level: float) -> Band:
    """How many times as long the one takes to the goal."""

    def statistic(means: np.ndarray) -> float:
        return seconds_to_goal(means[0], config) / seconds_to_goal(means[1], config)

    both = np.stack([one.course.losses, other.course.losses], axis=1)
    return error_runtime_trade_off.band_of_time(statistic, both, level)


def claims(racers: list[Racer], config: Config) -> tuple[Claim, ...]:
    """Under each clock: who is first, and that thresholds, buffers and weights cost no time."""
    found = []
    for clock in config.clocks:
        own = {racer.method: racer for racer in racers if racer.clock == clock}
        first = min(own, key=lambda method: float(time_of(own[method], config).middle))
        band = time_of(own[first], config)
        text = f"{clock}: seconds of the first, {first}"
        found.append(Claim.of_band(text, "before the end", band, holds=band.high < config.horizon))
        level = bands.simultaneous(len(own) - 1)
        for method, racer in own.items():
            if method != PLAIN:
                ratio = ratio_of(racer, own[PLAIN], config, level)
                text = f"{clock}: seconds of {method} / {PLAIN}"
                found.append(Claim.of_band(text, f"<= {1 + NEAR:g}", ratio, holds=ratio.middle <= 1 + NEAR))
    return tuple(found)


def rows(racers: list[Racer], config: Config) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table: a line for each method."""
    headings = ("", *(heading for clock in config.clocks for heading in (clock, "α")), "test accuracy in the end (%)")
    lines = []
    for method in config.methods:
        own = [racer for racer in racers if racer.method == method]
        cells = [cell for racer in own for cell in (tables.with_band(time_of(racer, config)), f"{racer.step_size:g}")]
        accuracies = [f"{100 * racer.course.accuracies[:, -1].mean():.1f}" for racer in own]
        lines.append((method, *cells, ", ".join(accuracies)))
    return headings, lines


def save_points(racers: list[Racer], config: Config, path: Path) -> None:
    """Every measurement of every seed."""
    headings = ("clock", "method", "step_size", "seed", "seconds", "loss", "accuracy", "gradients")
    lines: list[tuple[Any, ...]] = []
    for racer in racers:
        for seed in range(len(racer.course.losses)):
            columns = (times_of(config), *(leaf[seed] for leaf in racer.course[:3]))
            named = (racer.clock, racer.method, racer.step_size, seed)
            lines += [(*named, *map(float, values)) for values in zip(*columns, strict=True)]
    tables.save_csv(path, headings, lines)


def plot(racers: list[Racer], config: Config, path: Path) -> None:
    """Losses against time above, seconds to the goal against the step size below: a column for each clock."""
    times = times_of(config)
    with figures.paper():
        figure, axes = figures.panels(2, len(config.clocks), height=5.0, sharey="row")
        for column, clock in enumerate(config.clocks):
            above, below = axes[:, column]
            for place, method in enumerate(config.methods):
                racer = next(one for one in racers if (one.clock, one.method) == (clock, method))
                style = {"color": figures.COLORS[place % len(figures.COLORS)], "label": method}
                figures.draw(above, times, bands.of_mean(racer.course.losses), **style)
                sizes, seconds = np.array(list(racer.tuning)), np.array(list(racer.tuning.values()))
                below.plot(
                    sizes, np.where(np.isfinite(seconds), seconds, np.nan), marker=figures.MARKERS[place], **style
                )
            above.axhline(config.goal, color=figures.GREY, linewidth=0.8, linestyle=":")
            above.set(yscale="log", title=clock, xlabel="simulated seconds")
            below.set(xscale="log", yscale="log", xlabel="step size α")
            if column == 0:
                above.set_ylabel("training loss")
                below.set_ylabel(f"seconds to {config.goal:g}")
            figures.plain_decades(above)
            if np.isfinite(below.get_ylim()).all() and below.get_ylim()[0] > 0:
                figures.plain_decades(below)
        figures.legend(figure, axes, columns=4)
        figures.save(figure, path)
