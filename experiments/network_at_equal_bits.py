"""The network of local SGD against gossip at equal bits: what it is, what is measured, claims and curves.

A small convolutional network learns CIFAR-10 from shards that are alike and from a Dirichlet split, each seed from
another one, by the ways of `ways_at_equal_bits`. Losses are those of workers where they are, and at their mean x on the
same samples; in the end x and the workers are judged on held-out examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, metrics
from experiments import bands, figures, one_network, record, tables, ways_at_equal_bits, workers_and_mean
from experiments.answer import Claim
from experiments.one_network import IID
from experiments.ways_at_equal_bits import ALL_REDUCE, APART, KINDS, LOCAL, MEAN, MEASURED, UPLOAD


@dataclass(frozen=True)
class Config:
    """Every number of the network."""

    dataset: str = "cifar10"
    """Of `data`; "digits" needs no download."""
    reduce: int = 2
    """Side of the squares of pixels that are made one."""
    channels: tuple[int, ...] = (8, 16)
    num_examples: int = 10_000
    num_test: int = 1000
    kinds: tuple[str, ...] = (UPLOAD, ALL_REDUCE, "ring", "exponential", "one-peer", "matchings", "MATCHA")
    num_workers: int = 8
    batch_size: int = 4
    alphas: tuple[float, ...] = (IID, 0.1)
    """Of the splits."""
    step_size: float = 0.1
    budget: int = 8
    """H: steps in which a worker sends the parameters once; a multiple of n / 2."""
    num_steps: int = 672
    """A multiple of all periods."""
    num_seeds: int = 5
    every: int = 5
    """Steps between two losses; it has no factor in common with a period, so that all phases are met."""
    seed: int = 0


class Training(NamedTuple):
    """One way on the network, from one kind of split."""

    alpha: float
    kind: str
    period: int
    measured: np.ndarray
    """[S, 3]: `MEASURED`, training losses on the same samples, of the last quarter."""
    accuracies: np.ndarray
    """[S, 2]: test accuracy at x and in the mean of the workers, at the end."""
    curves: np.ndarray
    """[S, m, 3]: `MEASURED` over the run."""
    copies: np.ndarray
    """[S, n]: as in `Point`."""


def train(config: Config, run_dir: Path) -> list[Training]:
    """All ways on the network from all splits; what was measured before is read."""
    n = config.num_workers
    network = one_network.build(
        dataset=config.dataset,
        reduce=config.reduce,
        channels=config.channels,
        num_workers=n,
        batch_size=config.batch_size,
        num_examples=config.num_examples,
        num_test=config.num_test,
    )
    splits = one_network.splits(network, config.alphas, num_seeds=config.num_seeds, seed=config.seed)
    measured = {
        "losses": workers_and_mean.losses(network.problem, config.every),
        "apart": metrics.consensus_distance_sq(config.every),
        "sent": one_network.sent_by_each(config.num_steps, num_workers=n),
        "views": one_network.views(config.num_steps),
    }
    return [
        training(config, alpha, kind, seeds)
        for kind in config.kinds
        for alpha, seeds in trained(config, network, kind, splits, measured, run_dir).items()
    ]


def trained(
    config: Config,
    network: one_network.Network,
    kind: str,
    splits: Mapping[float, list[base.Shards]],
    measured: Mapping[str, metrics.Metric],
    run_dir: Path,
) -> dict[float, list[dict[str, np.ndarray]]]:
    """{α: what each seed has measured}, of one way, which is compiled once."""
    algorithm = ways_at_equal_bits.build(
        kind,
        network.problem.oracle,
        budget=config.budget,
        num_workers=config.num_workers,
        step_size=config.step_size,
    )
    run_one = partial(
        one_network.train_and_judge,
        network,
        algorithm,
        measured=measured,
        num_steps=config.num_steps,
        seed=config.seed,
    )
    return {
        alpha: [
            record.kept(run_dir, f"network_{kind}_{alpha:g}_{number}", partial(run_one, shards, number=number))
            for number, shards in enumerate(own)
        ]
        for alpha, own in splits.items()
    }


def training(config: Config, alpha: float, kind: str, seeds: list[dict[str, np.ndarray]]) -> Training:
    """What the seeds of one way have in common."""
    n, budget = config.num_workers, config.budget
    found = {name: np.stack([one[name] for one in seeds]) for name in seeds[0]}
    curves = np.stack([found["losses"][..., 1], found["losses"][..., 0], found["apart"]], axis=-1)
    accuracies = np.stack([found["test_accuracy"], found["of_workers"].mean(axis=1)], axis=1)
    copies = ways_at_equal_bits.share(kind, found["sent"][:, -1], budget=budget, num_steps=config.num_steps)
    last = curves[:, -(curves.shape[1] // 4) :].mean(axis=1)
    return Training(alpha, kind, ways_at_equal_bits.period(kind, budget, n), last, accuracies, curves, copies)


def claims(trainings: list[Training]) -> tuple[Claim, ...]:
    """On the network, against an all-reduce: gossip is farther apart, its workers are worse, and x is no better."""
    found = []
    for alpha in dict.fromkeys(one.alpha for one in trainings):
        name = f"network, {title_of(alpha)}"
        own = [one for one in trainings if one.alpha == alpha]
        found.append(ways_at_equal_bits.bits_claim(name, [one.copies for one in own]))
        local = next(one for one in own if one.kind == ALL_REDUCE)
        gossip = [one for one in own if one.kind not in LOCAL]
        level = bands.simultaneous(len(gossip))
        for which, values, is_strict in (
            (
                "distance, log of gossip / all-reduce",
                [np.log(one.measured[:, APART]) for one in [local, *gossip]],
                True,
            ),
            (
                "test error of workers, gossip less all-reduce",
                [-one.accuracies[:, 1] for one in [local, *gossip]],
                True,
            ),
            ("loss at x, gossip less all-reduce", [one.measured[:, MEAN] for one in [local, *gossip]], False),
        ):
            more = bands.of_mean(np.stack(values[1:], axis=1) - values[0][:, None], level)
            least = int(more.middle.argmin())
            found.append(
                Claim.of_band(
                    f"{name}: {which}, least, of {gossip[least].kind}",
                    f"{'> 0 at the lower' if is_strict else '>= 0 at the upper'} end, simultaneously",
                    [float(end[least]) for end in more],
                    holds=np.all(more.low > 0) if is_strict else np.all(more.high >= 0),
                )
            )
    return tuple(found)


def title_of(alpha: float) -> str:
    """Of a split."""
    return "iid" if alpha == IID else f"Dirichlet {alpha:g}"


def rows(trainings: list[Training]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table of the network."""
    accuracies = ("test accuracy at x (%)", "of workers (%)")
    headings = (
        "network",
        "split",
        "period",
        "bits",
        "busiest",
        "loss at x",
        "loss at workers",
        "distance",
        *accuracies,
    )
    return headings, [
        (
            one.kind,
            title_of(one.alpha),
            str(one.period),
            *(f"{copies:.3f}" for copies in ways_at_equal_bits.sent(one.copies)),
            *(tables.with_band(bands.of_mean(one.measured[:, which])) for which in MEASURED),
            *(tables.with_band(bands.of_mean(100 * one.accuracies[:, place])) for place in range(2)),
        )
        for one in trainings
    ]


def points(trainings: list[Training]) -> list[tuple[object, ...]]:
    """A line each: split, kind, period, copies, busiest, and `MEASURED` with the ends of its bands."""
    return [
        (title_of(one.alpha), one.kind, one.period, *ways_at_equal_bits.sent(one.copies), *ends(one.measured))
        for one in trainings
    ]


def ends(measured: np.ndarray) -> list[float]:
    """Of `MEASURED`, [S, 3]: each with its band."""
    return [float(end) for which in MEASURED for end in bands.of_mean(measured[:, which])]


def color_of(kind: str) -> str:
    """The same in all panels."""
    number = list(KINDS).index(kind)
    return (*figures.COLORS, figures.GREY, "#8B4513")[number]


def draw_curves(axis: Axes, config: Config, trainings: list[Training]) -> None:
    """Loss at x, in means over blocks of an eighth of the run, against copies sent by each worker."""
    for one in trainings:
        block = max(1, one.curves.shape[1] // 8)
        losses = one.curves[:, : one.curves.shape[1] // block * block, MEAN]
        losses = losses.reshape(len(losses), -1, block).mean(axis=2)
        copies = (np.arange(losses.shape[1]) + 0.5) * block * config.every / config.budget
        figures.draw(axis, copies, bands.of_mean(losses), color=color_of(one.kind), label=one.kind)
    axis.set(xlabel="copies sent by a worker", ylabel="training loss at x")


def draw_distances(axis: Axes, config: Config, trainings: list[Training]) -> None:
    """Distance against test accuracy of workers, open where the split is iid."""
    for one in trainings:
        distance, accuracy = bands.of_mean(one.measured[:, APART]), bands.of_mean(100 * one.accuracies[:, 1])
        is_first = one.alpha == config.alphas[0]
        axis.errorbar(
            distance.middle,
            accuracy.middle,
            xerr=np.array([[distance.middle - distance.low], [distance.high - distance.middle]]),
            yerr=np.array([[accuracy.middle - accuracy.low], [accuracy.high - accuracy.middle]]),
            color=color_of(one.kind),
            marker="o" if is_first else "s",
            markerfacecolor="none" if is_first else color_of(one.kind),
            elinewidth=0.6,
        )
    titles = " and ".join(title_of(alpha) for alpha in config.alphas)
    axis.set(xlabel="distance, last quarter", ylabel="test accuracy of workers (%)", title=titles)
