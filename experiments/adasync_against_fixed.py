"""Is AdaSync, which waits for more gradients as the loss falls, at all times as good as the best fixed K?

Figures of arXiv 2003.10579: training loss against simulated seconds, for three distributions of compute times (seconds
of a gradient: exponential of mean 1, 1 + exponential of mean 1, Pareto of shape 2 from 1 on), 8 workers that wait for
K = 1, 2, 4 or 8 always, or for a K that begins with 1 and follows the loss (`schedules.growing`), measured once in a
window. "The lower envelope" is meant literally: at each time AdaSync is compared with whatever fixed K is best there.

A perceptron on CIFAR-10, whose loss can come near 0, as the rule assumes; plain SGD, one step size for all.

Answer (size small): no, but it goes far below that. At the start it is K = 1, and at its worst time before K grows 1.13
to 1.34 times the best fixed K, if another K is better there. K becomes 2 when the loss is 2.4 times lower than at first
(Pareto: 2.5), and 4 to 6 in the end. In four of six cases AdaSync is then lower than every fixed K, down to 0.27 to
0.34 of the best, and 0.85 [0.79, 0.91] to 0.90 [0.88, 0.92] of it in the mean of logarithms over all times. Where few
gradients in an update save little time (K-sync with shifted or Pareto times) K = 4 is the best from early on, and
AdaSync is 1.08 [1.07, 1.09] and 1.12 [1.10, 1.13] times as high: the rule says how K grows from a K_0 that is right,
and cannot tell that K_0 = 1 is not. And with exponential times K = 2 overtakes it at the very end, 3.3 [0.5, 20] and
3.5 [2.3, 5.2]: with a loss of 0.03 gradients have hardly any noise left, of which the rule takes no note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from elastic_jax import algorithms, base, clocks, data
from elastic_jax.console import page
from elastic_jax.problems import mlp
from experiments import bands, elastic_scheduler, figures, record, tables, training_at_times
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.training_at_times import Course

QUESTION = (__doc__ or "").splitlines()[0]
CLOCKS: Mapping[str, clocks.Clock] = {
    "exponential": clocks.exponential(),
    "shifted": clocks.shifted_exponential(),
    "Pareto": clocks.pareto(2.0),
}
TITLES = {"exponential": "exp(1)", "shifted": "1 + exp(1)", "Pareto": "Pareto(2)"}
WAITING = {"k_sync": "K-sync", "k_async": "K-async"}
NEAR = 0.05
"""By which share of the loss AdaSync may be above the best fixed K, in the mean, and still be called as good."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    dataset: str = "cifar10"
    """Of `data`; "digits" needs no download."""
    reduce: int = 4
    """Side of the squares of pixels that are made one."""
    num_examples: int = 5_000
    num_test: int = 2_000
    widths: tuple[int, ...] = (64,)
    num_workers: int = 8
    batch_size: int = 8
    step_size: float = 0.05
    """α."""
    fixed: tuple[int, ...] = (1, 2, 4, 8)
    """K."""
    clocks: tuple[str, ...] = tuple(CLOCKS)
    waiting: tuple[str, ...] = tuple(WAITING)
    window: float = 60.0
    """Simulated seconds between two looks at the loss."""
    horizon: float = 30_000.0
    """Simulated seconds."""
    first: float = 20.0
    """The first measurement after the start, simulated seconds."""
    num_times: int = 45
    """Measurements, evenly in the logarithm."""
    num_seeds: int = 5
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        dataset="digits",
        reduce=1,
        num_examples=400,
        num_test=200,
        widths=(16,),
        fixed=(1, 8),
        clocks=("exponential",),
        horizon=400.0,
        window=20.0,
        num_times=12,
        num_seeds=3,
    ),
    "small": Config(),
    "paper": Config(reduce=1, num_examples=50_000, num_test=10_000, widths=(512, 256), batch_size=32, num_seeds=10),
}


class Panel(NamedTuple):
    """One clock and one way of waiting."""

    clock: str
    waiting: str
    fixed: dict[int, Course]
    adasync: Course

    @property
    def name(self) -> str:
        """For tables and claims."""
        return f"{WAITING[self.waiting]}, {TITLES[self.clock]}"


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains with each clock in each way, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    problem = build_problem(config)
    panels = []
    for clock in config.clocks:
        for waiting in config.waiting:
            console.print(f"{WAITING[waiting]}, {TITLES[clock]}")
            courses = {
                k: Course(
                    **record.kept(run_dir, f"{waiting}_{clock}_{k}", partial(train, config, problem, clock, waiting, k))
                )
                for k in (*config.fixed, 0)
            }
            panels.append(Panel(clock, waiting, {k: courses[k] for k in config.fixed}, courses[0]))
    headings, lines = rows(panels, config)
    caption = f"training loss after {config.horizon:g} simulated seconds; K in the end"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(panels, config, run_dir / "points.csv")
    plot(panels, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(panels, config), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def build_problem(config: Config) -> base.Problem:
    """A perceptron on small images."""
    images = elastic_scheduler.reduced(data.load(config.dataset), config.reduce)
    images = images._replace(
        train_inputs=images.train_inputs[: config.num_examples],
        train_targets=images.train_targets[: config.num_examples],
        test_inputs=images.test_inputs[: config.num_test],
        test_targets=images.test_targets[: config.num_test],
    )
    return mlp.build(
        num_workers=config.num_workers,
        dataset=images,
        batch_size=config.batch_size,
        widths=config.widths,
        seed=config.seed,
    )


def times_of(config: Config) -> np.ndarray:
    """0, and the times of measurements: seconds [m]."""
    return np.concatenate([[0.0], np.geomspace(config.first, config.horizon, config.num_times)])


def build(config: Config, problem: base.Problem, clock: str, waiting: str, k: int) -> base.Algorithm:
    """The algorithm that waits for K always, or AdaSync for K = 0."""
    shared: dict[str, Any] = {
        "num_workers": config.num_workers,
        "step_size": config.step_size,
        "clock": CLOCKS[clock],
        "num_awaited": max(k, 1),
    }
    if k:
        return algorithms.variant(f"{waiting}_sgd").build(problem.oracle, **shared)
    return algorithms.variant("adasync_sgd").build(problem.oracle, waiting=waiting, window=config.window, **shared)


def train(config: Config, problem: base.Problem, clock: str, waiting: str, k: int) -> dict[str, np.ndarray]:
    """The fields of a `Course`."""
    course = training_at_times.follow(
        build(config, problem, clock, waiting, k),
        problem,
        problem.init(jax.random.key(config.seed)),
        problem.data,
        times=times_of(config),
        seed_keys=jax.random.split(jax.random.key(config.seed + 1), config.num_seeds),
    )
    return course._asdict()


def above_best(panel: Panel) -> np.ndarray:
    """The logarithm of the loss of AdaSync over that of the fixed K that is best then in the mean: [S, m]."""
    fixed = np.stack([course.losses[:, 1:] for course in panel.fixed.values()])
    best = fixed.mean(axis=1).argmin(axis=0)
    chosen = np.take_along_axis(fixed, best[None, None], axis=0)[0]
    return np.log(panel.adasync.losses[:, 1:] / chosen)


def mean_above(panel: Panel, k: int) -> np.ndarray:
    """The mean over all times of the logarithm of AdaSync's loss over that of one fixed K: [S]."""
    return np.log(panel.adasync.losses[:, 1:] / panel.fixed[k].losses[:, 1:]).mean(axis=1)


def claims(panels: list[Panel], config: Config) -> tuple[Claim, ...]:
    """At no time worse than the best fixed K, in the mean over times better than each, and K grows."""
    return tuple(claim for panel in panels for claim in claims_of(panel, config))


def claims_of(panel: Panel, config: Config) -> list[Claim]:
    """Of one clock and way of waiting."""
    level = bands.simultaneous(config.num_times)
    band = _exp(bands.of_mean(above_best(panel), level))
    worst = int(band.middle.argmax())
    found = [
        Claim.of_band(
            f"{panel.name}: loss of AdaSync / best fixed K, at the worst time",
            f"<= {1 + NEAR:g}",
            [end[worst] for end in band],
            holds=np.all(band.middle <= 1 + NEAR),
        )
    ]
    level = bands.simultaneous(len(panel.fixed))
    others = {k: _exp(bands.of_mean(mean_above(panel, k), level)) for k in panel.fixed}
    hardest = max(others, key=lambda k: float(others[k].middle))
    found.append(
        Claim.of_band(
            f"{panel.name}: loss of AdaSync / the fixed K that is best over all times, K = {hardest}, mean over times",
            "< 1 at the upper end",
            others[hardest],
            holds=others[hardest].high < 1,
        )
    )
    end = _exp(bands.of_mean(above_best(panel)[:, -1]))
    text = f"{panel.name}: loss of AdaSync / best fixed K, in the end"
    found.append(Claim.of_band(text, f"<= {1 + NEAR:g}", end, holds=end.middle <= 1 + NEAR))
    last = bands.of_mean(panel.adasync.awaited[:, -1])
    found.append(Claim.of_band(f"{panel.name}: K in the end", "> 1 at the lower end", last, holds=last.low > 1))
    return found


def _exp(band: Band) -> Band:
    return Band(*(np.exp(end) for end in band))


def rows(panels: list[Panel], config: Config) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    headings = ("", *(f"K = {k}" for k in config.fixed), "AdaSync", "K in the end", "gradients, K = 1 less AdaSync (%)")
    lines = []
    for panel in panels:
        ends = [*panel.fixed.values(), panel.adasync]
        first = panel.fixed[min(panel.fixed)].grads[:, -1]
        saved = bands.of_mean(100 * (1 - panel.adasync.grads[:, -1] / first))
        lines.append(
            (
                panel.name,
                *(tables.with_band(bands.of_mean(course.losses[:, -1])) for course in ends),
                tables.with_band(bands.of_mean(panel.adasync.awaited[:, -1])),
                tables.with_band(saved),
            )
        )
    return headings, lines


def save_points(panels: list[Panel], config: Config, path: Path) -> None:
    """Every measurement of every seed; K of AdaSync is that of the stretch before."""
    headings = ("waiting", "clock", "way", "seed", "seconds", "loss", "accuracy", "gradients", "awaited")
    lines: list[tuple[Any, ...]] = []
    for panel in panels:
        named = {**{f"K = {k}": course for k, course in panel.fixed.items()}, "AdaSync": panel.adasync}
        for way, course in named.items():
            for seed in range(len(course.losses)):
                columns = zip(times_of(config), *(leaf[seed] for leaf in course), strict=True)
                lines += [(panel.waiting, panel.clock, way, seed, *map(float, values)) for values in columns]
    tables.save_csv(path, headings, lines)


def plot(panels: list[Panel], config: Config, path: Path) -> None:
    """A panel for each clock and way of waiting: losses against time; below each K of AdaSync."""
    times, num_columns = times_of(config)[1:], len(config.clocks)
    with figures.paper():
        ratios = [3, 1] * len(config.waiting)
        figure, axes = figures.panels(
            len(ratios),
            num_columns,
            height=3.6 * len(config.waiting),
            sharex=True,
            gridspec_kw={"height_ratios": ratios},
        )
        for number, panel in enumerate(panels):
            column, row = divmod(number, len(config.waiting))
            above, below = axes[2 * row, column], axes[2 * row + 1, column]
            for place, (k, course) in enumerate(panel.fixed.items()):
                color = figures.COLORS[1 + place]
                figures.draw(above, times, bands.of_mean(course.losses[:, 1:]), color=color, label=f"K = {k}")
            style = {"color": figures.COLORS[6], "linestyle": "--"}
            figures.draw(above, times, bands.of_mean(panel.adasync.losses[:, 1:]), label="AdaSync", **style)
            figures.draw(below, times, bands.of_mean(panel.adasync.awaited[:, 1:]), **style)
            above.set(xscale="log", yscale="log", title=panel.name)
            below.set(xscale="log", yscale="log", ylim=(0.8, 1.25 * config.num_workers), yticks=config.fixed)
            below.set_yticklabels([str(k) for k in config.fixed])
            below.minorticks_off()
            figures.plain_decades(above)
            figures.plain_decades(below, which="x")
            if column == 0:
                above.set_ylabel("training loss")
                below.set_ylabel("K of AdaSync")
            if row == len(config.waiting) - 1:
                below.set_xlabel("simulated seconds")
        figures.legend(figure, axes, columns=len(config.fixed) + 1)
        figures.save(figure, path)
