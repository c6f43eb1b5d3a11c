"""Does a swarm reach what others reach, and after how many epochs?

A convolutional network learns CIFAR-10 by SwarmSGD, whose workers take three steps and average in pairs, all of them at
once; by large-batch SGD; by local SGD that averages all after as many steps; by D-PSGD on a ring; by AD-PSGD, whose
workers finish in random order and each average with one of all others; and by stochastic gradient push to peers at
distances that are powers of two. All see as many examples, with the same batch of each worker and the same rule for its
step size (`swarm_training`). The swarm also has a multiple of the epochs, with the schedule stretched.

What is compared is the accuracy on held-out images of x, the mean of all workers, and of one worker where it was at the
last step, when step sizes have fallen to 0, and half-way. Seeds are paired: a seed is one starting point for all ways.
A swarm does not wait for slow workers nor for a network that all share; what that is worth in seconds is not counted
here.

Answer (small: 3 epochs, H = 3, 5 seeds; 95 % bands, simultaneous over n). At equal epochs it does not: with 8, 16 and
32 workers x of the swarm is 1.3 [0.0, 2.5], 3.1 [2.2, 4.1] and 3.8 [3.0, 4.7] points behind large batch, and behind all
others by less: farthest, 2.4 points, behind AD-PSGD with 32, which sends six times as much. On a ring it loses another
0.7, 0.5 and 2.3. With twice the epochs it is there: 0.9 ahead, 0.1 behind, 0.1 ahead; with 8 workers 1.37 [1.15, 1.63]
times the epochs are enough, with 16 and 32 about twice, where the seeds do not say whether a little more. More workers
cost every way accuracy, as they take fewer steps, and those that average less lose more. In the end a node is as good
as x, to 0.05 points; half-way, with large steps, it is 1.0, 2.0 and 4.3 behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, mixings, topologies
from elastic_jax.console import page
from experiments import bands, error_runtime_trade_off, figures, record, swarm_training, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.swarm_training import PLACES, TIMES, Network, Program

QUESTION = (__doc__ or "").splitlines()[0]

LARGE_BATCH, SWARM = "large batch", "swarm"
ALLOWED = 1.0
"""Points of accuracy by which two may differ that are called alike."""
LEARNT = 30.0
"""Per cent: three times what guessing one of ten classes gets right."""
AT_MEAN, AT_NODE = range(len(PLACES))
HALF_WAY, END = range(len(TIMES))


class Way(NamedTuple):
    """One way of training."""

    variant: str
    """Of `algorithms`."""
    others: Callable[[int], Mapping[str, Any]]
    """Its arguments besides those that all have, of the number of local steps."""


WAYS: Mapping[str, Way] = {
    LARGE_BATCH: Way("synchronous_sgd", lambda _: {}),
    "local SGD": Way("local_sgd", lambda steps: {"period": steps}),
    "D-PSGD": Way("gossip_sgd", lambda _: {"mixing": mixings.around_ring, "combine_first": True}),
    "AD-PSGD": Way("asynchronous_gossip_sgd", lambda _: {}),
    "SGP": Way("push_sum_sgd", lambda _: {}),
    SWARM: Way("swarm_sgd", lambda steps: {"local_steps": steps, "parallel": True}),
    "swarm, ring": Way(
        "swarm_sgd", lambda steps: {"local_steps": steps, "parallel": True, "topology": topologies.ring}
    ),
}
"""The first is what all others are compared with."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    network: Network = field(default_factory=Network)
    ways: tuple[str, ...] = tuple(WAYS)
    """Of `WAYS`, with `LARGE_BATCH` and `SWARM`."""
    num_workers: tuple[int, ...] = (8, 16, 32)
    """n."""
    local_steps: int = 3
    epochs: float = 3.0
    multipliers: tuple[float, ...] = (1.0, 1.5, 2.0)
    """Of the epochs of the swarm; ascending from 1."""
    num_points: int = 25
    """Of a curve, each the mean over as many steps."""
    num_seeds: int = 5
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        network=Network(
            dataset="digits", reduce=1, channels=(4,), num_examples=1000, num_test=300, batch_size=4, step_size=0.02
        ),
        ways=(LARGE_BATCH, "AD-PSGD", SWARM),
        num_workers=(4, 8),
        multipliers=(1.0, 2.0),
        num_points=5,
        num_seeds=3,
    ),
    "small": Config(),
    "paper": Config(
        network=Network(reduce=1, depth=20, batch_size=16, step_size=0.1, reference_batch=128, scaling=1.0),
        epochs=200.0,
        multipliers=(1.0, 1.25, 1.5, 2.0),
        num_points=100,
    ),
}


class Setting(NamedTuple):
    """One way, one number of workers, one number of epochs."""

    way: str
    num_workers: int
    multiplier: float = 1.0

    @property
    def name(self) -> str:
        """For files."""
        return "_".join([*self.way.replace(",", "").split(), str(self.num_workers), f"{self.multiplier:g}"])


class Row(NamedTuple):
    """What came of one setting."""

    setting: Setting
    losses: np.ndarray
    """[S, m]: training losses of the workers, means over blocks of steps."""
    accuracies: np.ndarray
    """[S, 2, 2]: per cent of the held-out images, at `TIMES` and `PLACES`."""
    copies: np.ndarray
    """[S]: of all parameters, sent by a worker in the mean, in a step of its own."""


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    found = []
    for num_workers in config.num_workers:
        problem = swarm_training.build_problem(config.network, num_workers=num_workers, seed=config.seed)
        for setting in settings(config, num_workers):
            found.append(measure(config, problem, setting, run_dir))
            mean, node = found[-1].accuracies.mean(axis=0)[END]
            title = f"{setting.way}, n = {num_workers}, epochs × {setting.multiplier:g}"
            console.print(f"[bold]{title}[/bold]: {mean:.2f} %, one node {node:.2f} %")

    headings, lines = rows(found, config)
    caption = "held-out images, per cent; copies of all parameters a worker sends in a step; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(found, config, run_dir / "points.csv")
    plot(found, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(found, config), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def settings(config: Config, num_workers: int) -> list[Setting]:
    """All ways at equal epochs, then the swarm at more."""
    equal = [Setting(way, num_workers) for way in config.ways]
    return equal + [Setting(SWARM, num_workers, multiplier) for multiplier in config.multipliers if multiplier != 1]


def build(config: Config, problem: base.Problem, setting: Setting) -> Program:
    """The algorithm of a setting, with as many steps as make its epochs."""
    way = WAYS[setting.way]
    return swarm_training.build(
        config.network,
        problem,
        way.variant,
        way.others(config.local_steps),
        epochs=config.epochs * setting.multiplier,
        local_steps=config.local_steps,
    )


def measure(config: Config, problem: base.Problem, setting: Setting, run_dir: Path) -> Row:
    """All seeds of a setting; what was measured before is read."""
    run_one = partial(train, config, problem, build(config, problem, setting))
    seeds = [
        record.kept(run_dir, f"{setting.name}_{number}", partial(run_one, number=number))
        for number in range(config.num_seeds)
    ]
    return Row(setting, **{name: np.stack([one[name] for one in seeds]) for name in seeds[0]})


def train(config: Config, problem: base.Problem, program: Program, *, number: int) -> dict[str, np.ndarray]:
    """One seed: the fields of `Row`."""
    found = swarm_training.train(problem, program, seed=config.seed, number=number)
    return {
        "losses": swarm_training.over_blocks(found["losses"], config.num_points),
        "accuracies": 100 * found["accuracies"],
        "copies": found["bits"][-1] / swarm_training.bits_of_copy(problem) / program.num_rounds,
    }


def accuracies(found: list[Row], num_workers: int) -> dict[tuple[str, float], np.ndarray]:
    """{(way, multiplier): [S, 2]}, in the end."""
    own = [row for row in found if row.setting.num_workers == num_workers]
    return {(row.setting.way, row.setting.multiplier): row.accuracies[:, END] for row in own}


def claims(found: list[Row], config: Config) -> tuple[Claim, ...]:
    """All learn; at equal epochs the swarm is as good; with more it reaches large batch; one node is as good as x."""
    level = bands.simultaneous(len(config.num_workers))
    more = max(config.multipliers)
    judged = []
    for n in config.num_workers:
        own = accuracies(found, n)
        large, swarm = own[LARGE_BATCH, 1.0], own[SWARM, 1.0]
        band = bands.of_mean(large[:, AT_MEAN], level)
        title = f"n = {n}, {LARGE_BATCH}: accuracy of x (%)"
        judged.append(Claim.of_band(title, f">= {LEARNT:g} at the lower end", band, holds=band.low >= LEARNT))
        band = bands.of_mean(swarm[:, AT_MEAN] - large[:, AT_MEAN], level)
        is_alike = band.low >= -ALLOWED and band.high <= ALLOWED
        title = f"n = {n}, equal epochs: accuracy of x, swarm less large batch"
        judged.append(Claim.of_band(title, f"within ± {ALLOWED:g}, with the band", band, holds=is_alike))
        judged.append(others_claim(n, own, len(config.num_workers)))
        band = bands.of_mean(own[SWARM, more][:, AT_MEAN] - large[:, AT_MEAN], level)
        title = f"n = {n}, epochs of the swarm × {more:g}: accuracy of x, swarm less large batch"
        judged.append(not_worse(title, band))
        band = reaching_band(own, config, level)
        title = f"n = {n}: multiple of the epochs at which x of the swarm has the accuracy of large batch"
        judged.append(Claim.of_band(title, f"<= {more:g} at the upper end", band, holds=band.high <= more))
        band = bands.of_mean(swarm[:, AT_NODE] - swarm[:, AT_MEAN], level)
        judged.append(not_worse(f"n = {n}, swarm, in the end: accuracy of one node less that of x", band))
        judged.append(half_way_claim(n, found, level))
    return tuple(judged)


def others_claim(num_workers: int, own: Mapping[tuple[str, float], np.ndarray], num_judged: int) -> Claim:
    """At equal epochs the swarm loses little against any of the others."""
    swarm = own[SWARM, 1.0][:, AT_MEAN]
    others = [way for way, multiplier in own if multiplier == 1 and way not in (LARGE_BATCH, SWARM)]
    gains = np.stack([swarm - own[way, 1.0][:, AT_MEAN] for way in others], axis=1)
    band = bands.of_mean(gains, bands.simultaneous(num_judged * len(others)))
    least = int(band.middle.argmin())
    title = f"n = {num_workers}, equal epochs: accuracy of x, swarm less others, least, of {others[least]}"
    ends = [float(end[least]) for end in band]
    expected = f">= {-ALLOWED:g} at the lower end, simultaneously"
    return Claim.of_band(title, expected, ends, holds=np.all(band.low >= -ALLOWED))


def half_way_claim(num_workers: int, found: list[Row], level: float) -> Claim:
    """Where step sizes are large, a node of the swarm is behind x."""
    row = next(row for row in found if row.setting == Setting(SWARM, num_workers))
    band = bands.of_mean(row.accuracies[:, HALF_WAY, AT_NODE] - row.accuracies[:, HALF_WAY, AT_MEAN], level)
    title = f"n = {num_workers}, swarm, half-way: accuracy of one node less that of x"
    return Claim.of_band(title, "< 0 at the upper end, simultaneously", band, holds=band.high < 0)


def not_worse(title: str, band: Band) -> Claim:
    """A difference of accuracies is not below what is allowed."""
    expected = f">= {-ALLOWED:g} at the lower end, simultaneously"
    return Claim.of_band(title, expected, band, holds=band.low >= -ALLOWED)


def reaching_band(own: Mapping[tuple[str, float], np.ndarray], config: Config, level: float) -> Band:
    """Of `reaching`; it has none if the swarm stays behind when a seed is left out."""
    large = own[LARGE_BATCH, 1.0][:, AT_MEAN]
    gains = np.stack([own[SWARM, multiplier][:, AT_MEAN] - large for multiplier in config.multipliers], axis=1)
    return error_runtime_trade_off.band_of_time(partial(reaching, multipliers=config.multipliers), gains, level)


def reaching(gains: np.ndarray, *, multipliers: tuple[float, ...]) -> float:
    """Where gains [m], linear between two multipliers, first come to 0: the first of them if they begin there, ∞."""
    reached = np.flatnonzero(gains >= 0)
    if not len(reached):
        return np.inf
    index = int(reached[0])
    if index == 0:
        return multipliers[0]
    share = -gains[index - 1] / (gains[index] - gains[index - 1])
    return float(multipliers[index - 1] + share * (multipliers[index] - multipliers[index - 1]))


def rows(found: list[Row], config: Config) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    accuracies_at = [f"{place}, {time}" for time in TIMES for place in PLACES]
    headings = ("", "n", "epochs", "step size", "copies", "training loss", *accuracies_at)
    lines = [
        (
            row.setting.way,
            str(row.setting.num_workers),
            f"{config.epochs * row.setting.multiplier:g}",
            f"{swarm_training.highest_step_size(config.network, row.setting.num_workers):.3g}",
            f"{row.copies.mean():.3g}",
            tables.with_band(bands.of_mean(row.losses[:, -1])),
            *(tables.with_band(bands.of_mean(own)) for own in row.accuracies.reshape(len(row.accuracies), -1).T),
        )
        for row in found
    ]
    return headings, lines


def save_points(found: list[Row], config: Config, path: Path) -> None:
    """Every seed: the curve of its loss, and in the line of its last point what was measured in the end."""
    at_ends = ("half_way", "half_way_of_node", "accuracy", "accuracy_of_node")
    headings = ("way", "n", "multiplier", "seed", "epochs", "loss", "copies", *at_ends)
    lines = []
    for row in found:
        places = (np.arange(config.num_points) + 0.5) / config.num_points * config.epochs * row.setting.multiplier
        for seed, losses in enumerate(row.losses):
            for point, (place, loss) in enumerate(zip(places, losses, strict=True)):
                ends = [float(row.copies[seed]), *map(float, row.accuracies[seed].ravel())]
                measured = ends if point == config.num_points - 1 else [None] * len(ends)
                lines.append((*row.setting, seed, float(place), float(loss), *measured))
    tables.save_csv(path, headings, lines)


def plot(found: list[Row], config: Config, path: Path) -> None:
    """Accuracy of x, and of one node less x, against n; accuracy of the swarm against its epochs.

    One node less x is dashed half-way.
    """
    with figures.paper():
        figure, axes = figures.panels(1, 3, height=2.5)
        for way, color, marker in zip(config.ways, figures.COLORS, figures.MARKERS, strict=False):
            own = [row for row in found if row.setting.way == way and row.setting.multiplier == 1]
            reached = np.stack([row.accuracies for row in own], axis=1)
            gaps = bands.of_mean(reached[..., AT_NODE] - reached[..., AT_MEAN])
            numbers = np.array([row.setting.num_workers for row in own])
            band = bands.of_mean(reached[..., END, AT_MEAN])
            figures.draw(axes[0, 0], numbers, band, color=color, marker=marker, label=way)
            for time, style in ((HALF_WAY, "--"), (END, "-")):
                gap = Band(*(end[:, time] for end in gaps))
                figures.draw(axes[0, 2], numbers, gap, color=color, marker=marker, linestyle=style)
        for axis, title in ((axes[0, 0], "accuracy of x (%), equal epochs"), (axes[0, 2], "one node less x (points)")):
            axis.set_xscale("log")
            figures.plain_ticks(axis, config.num_workers)
            axis.set(xlabel="workers n", title=title)
        axes[0, 2].plot([], [], color=figures.GREY, linestyle="--", label="one node, half-way")
        draw_multipliers(axes[0, 1], found, config)
        figures.legend(figure, axes, columns=5)
        figures.save(figure, path)


def draw_multipliers(axis: Axes, found: list[Row], config: Config) -> None:
    """The swarm, with large batch as a dotted line for each number of workers."""
    shades = ("#9ECAE1", "#4292C6", "#08306B", "#777777")
    for n, color, style in zip(config.num_workers, shades, ("o", "s", "^", "D"), strict=False):
        own = accuracies(found, n)
        swarm = np.stack([own[SWARM, multiplier][:, AT_MEAN] for multiplier in config.multipliers], axis=1)
        multipliers = np.array(config.multipliers)
        figures.draw(axis, multipliers, bands.of_mean(swarm), color=color, marker=style, label=f"swarm, n = {n}")
        axis.axhline(own[LARGE_BATCH, 1.0][:, AT_MEAN].mean(), color=color, linestyle=":")
    axis.plot([], [], color=figures.GREY, linestyle=":", label="large batch, same n")
    axis.set(xlabel="epochs of the swarm / of large batch", title="accuracy of x (%)")
