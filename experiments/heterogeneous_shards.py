"""Who suffers where shards are heterogeneous, by how much, and does it depend on what is sent?

The examples of Fashion-MNIST are split over workers by Dirichlet draws with α = 0.1, 1, 100, each seed from a split of
its own, and a small convolutional network learns them: by synchronous SGD, local SGD with several periods, federated
averaging of half of the workers, gossip on a ring and on directed exponential graphs, elastic averaging and overlap
local SGD. x moves by one effective step size in all of them, and all workers have the same weight, however large their
shards are. Comparisons are

    at equal steps    all runs have as many steps; federated averaging takes half the gradients
    at equal bits     of those with a budget every worker sends the parameters once in H steps, in the mean, as runs
                      report it (an averaging of all is counted as uploads); synchronous SGD of T / H steps is with them

How heterogeneous a split is is measured where synchronous SGD has come to: ζ² = (1/n) Σ_i ‖∇f_i(x) - ∇f(x)‖². Judged is
x in the end: the training loss on all examples alike, and test accuracy. What a method suffers is how much its loss
exceeds that of synchronous SGD on the same splits, so that what all have to bear is left out.

Answer (small: 8 workers, 384 steps, 10 seeds; 95 % bands, for all methods at once). Who communicates seldom: from α =
100 to 0.1 the loss above synchronous SGD rises at equal bits by 0.117 [0.057, 0.177] for local SGD, 0.176 [0.077,
0.274] for federated averaging and up to 0.299 [0.149, 0.448] for elastic averaging, with test accuracy at x down to
76.5 and 69.1 % of 81.3 %. Gossip in every step, with 32 and 48 times the bits, is not told apart from synchronous SGD:
that it suffers fails. Overlap local SGD loses 0.071 [0.048, 0.094] even where shards are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, metrics
from elastic_jax.algorithms import (
    elastic_averaging_sgd,
    federated_averaging_sgd,
    gossip_sgd,
    local_sgd,
    overlap_local_sgd,
    synchronous_sgd,
)
from elastic_jax.console import page
from experiments import bands, figures, one_network, record, tables, ways_at_equal_bits
from experiments.answer import Answer, Claim

QUESTION = (__doc__ or "").splitlines()[0]

KINDS = ("local", "federated", "ring", "exponential", "elastic", "overlap")
Values = Callable[["Config", list["Outcome"], "Outcome"], np.ndarray]
EQUAL = 1e-3
"""How far the bits of one budget may differ."""
SMALL = 0.02
"""What nobody should suffer by where shards are alike, in training loss."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    alphas: tuple[float, ...] = (0.1, 1.0, 100.0)
    """Of the Dirichlet splits, ascending."""
    kinds: tuple[str, ...] = KINDS
    """With the budget."""
    budget: int = 16
    """H: steps in which a worker sends the parameters once."""
    other_periods: tuple[int, ...] = (4, 64)
    """Of local SGD, with more bits and with less."""
    often: tuple[str, ...] = ("ring", "exponential")
    """Gossip in every step."""
    pull: float = 0.5
    """Of overlap local SGD."""
    dataset: str = "fashion_mnist"
    """Of `data`; "digits" needs no download."""
    reduce: int = 2
    """Side of the squares of pixels that are made one."""
    channels: tuple[int, ...] = (8, 16)
    num_examples: int = 8000
    num_test: int = 2000
    num_workers: int = 8
    batch_size: int = 8
    step_size: float = 0.1
    """The effective α."""
    num_steps: int = 384
    """A multiple of all periods."""
    num_seeds: int = 10
    """Splits differ much: bands of five seeds that hold for all methods at once would tell nothing."""
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        alphas=(0.1, 100.0),
        kinds=("local", "ring"),
        budget=8,
        other_periods=(),
        often=(),
        dataset="digits",
        reduce=1,
        channels=(4,),
        num_examples=1000,
        num_test=300,
        num_workers=4,
        num_steps=64,
        num_seeds=5,
    ),
    "small": Config(),
    "paper": Config(
        alphas=(0.05, 0.1, 0.3, 1.0, 10.0, 100.0),
        other_periods=(4, 64, 256),
        dataset="cifar10",
        reduce=1,
        channels=(16, 32, 64),
        num_examples=50_000,
        num_test=10_000,
        num_workers=16,
        batch_size=32,
        num_steps=20_480,
    ),
}


class Method(NamedTuple):
    """What is run."""

    kind: str
    """"synchronous", or of `KINDS`."""
    period: int
    """Steps between two communications."""
    num_steps: int
    has_budget: bool

    @property
    def title(self) -> str:
        """For tables."""
        return f"{self.kind}, τ = {self.period}" if self.period > 1 or self.kind != "synchronous" else self.kind

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.kind}_{self.period}_{self.num_steps}"


class Outcome(NamedTuple):
    """Of one method on all splits of one α. Arrays have the seeds first."""

    method: Method
    alpha: float
    dissimilarity: np.ndarray
    """[S], gradient units squared: ζ² where synchronous SGD has come to."""
    loss: np.ndarray
    """[S]: training loss at x in the end."""
    accuracy: np.ndarray
    """[S]: test accuracy at x in the end."""
    of_workers: np.ndarray
    """[S, k]: test accuracy of each active worker, before the last step."""
    copies: np.ndarray
    """[S, n]: of the parameters, sent by each worker in H steps."""


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains by all methods, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    network = one_network.build(
        dataset=config.dataset,
        reduce=config.reduce,
        channels=config.channels,
        num_workers=config.num_workers,
        batch_size=config.batch_size,
        num_examples=config.num_examples,
        num_test=config.num_test,
    )
    splits = one_network.splits(network, config.alphas, num_seeds=config.num_seeds, seed=config.seed)
    trained = train(config, network, splits, run_dir)
    measured = dissimilarities(network, splits, trained[methods(config)[0]], run_dir)
    outcomes = [
        outcome(config, method, alpha, trained[method][alpha], measured) for method in trained for alpha in splits
    ]

    headings, lines = rows(config, outcomes)
    caption = "x in the end; bits: of the budget; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(outcomes, run_dir / "points.csv")
    plot(config, outcomes, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(config, outcomes), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def methods(config: Config) -> list[Method]:
    """Synchronous SGD first; then with its budget; then those that have one; then those with more bits or less."""
    n, H, T = config.num_workers, config.budget, config.num_steps
    periods = {
        "federated": H * _num_sampled(n) // n,
        "ring": ways_at_equal_bits.period("ring", H, n),
        "exponential": ways_at_equal_bits.period("exponential", H, n),
    }
    return [
        Method("synchronous", 1, T, False),
        Method("synchronous", 1, T // H, True),
        *(Method(kind, periods.get(kind, H), T, True) for kind in config.kinds),
        *(Method("local", period, T, False) for period in config.other_periods),
        *(Method(kind, 1, T, False) for kind in config.often),
    ]


def _num_sampled(num_workers: int) -> int:
    """Of federated averaging."""
    return max(1, num_workers // 2)


def build(config: Config, method: Method, oracle: base.Oracle) -> base.Algorithm:
    """The algorithm, whose x moves by the effective step size times the mean gradient."""
    n, size, period = config.num_workers, config.step_size, method.period
    match method.kind:
        case "synchronous":
            return synchronous_sgd.build(oracle, num_workers=n, step_size=size)
        case "local":
            return local_sgd.build(oracle, num_workers=n, step_size=size, period=period)
        case "federated":
            sampled = _num_sampled(n)
            return federated_averaging_sgd.build(
                oracle, num_workers=n, step_size=size, period=period, num_sampled=sampled
            )
        case "elastic":
            return elastic_averaging_sgd.build(oracle, num_workers=n, step_size=size * (n + 1) / n, period=period)
        case "overlap":
            own = size / (1 - config.pull)
            return overlap_local_sgd.build(oracle, num_workers=n, step_size=own, pull=config.pull, period=period)
    mixing = ways_at_equal_bits.KINDS[method.kind](n)
    return gossip_sgd.build(oracle, num_workers=n, step_size=size, mixing=mixing, period=period)


def train(
    config: Config,
    network: one_network.Network,
    splits: Mapping[float, list[base.Shards]],
    run_dir: Path,
) -> dict[Method, dict[float, list[dict[str, np.ndarray]]]]:
    """{method: {α: what each seed has measured}}; each is compiled once, and what was measured before is read."""
    measured = {
        "views": one_network.views(config.num_steps),
        "sent": one_network.sent_by_each(config.num_steps, num_workers=config.num_workers),
    }
    algorithms: dict[tuple[str, int], base.Algorithm] = {}
    found = {}
    for method in methods(config):
        algorithm = build(config, method, network.problem.oracle)
        algorithm = algorithms.setdefault((method.kind, method.period), algorithm)
        found[method] = train_one(config, network, method, algorithm, measured, splits, run_dir)
    return found


def train_one(
    config: Config,
    network: one_network.Network,
    method: Method,
    algorithm: base.Algorithm,
    measured: Mapping[str, metrics.Metric],
    splits: Mapping[float, list[base.Shards]],
    run_dir: Path,
) -> dict[float, list[dict[str, np.ndarray]]]:
    """{α: what each seed has measured}, of one method."""
    page().print(f"[bold]{method.title}[/bold], {method.num_steps} steps")
    run_one = partial(
        one_network.train_and_judge,
        network,
        algorithm,
        measured=measured,
        num_steps=method.num_steps,
        seed=config.seed,
    )
    return {
        alpha: [
            record.kept(run_dir, f"{method.name}_{alpha:g}_{number}", partial(run_one, shards, number=number))
            for number, shards in enumerate(own)
        ]
        for alpha, own in splits.items()
    }


def dissimilarities(
    network: one_network.Network,
    splits: Mapping[float, list[base.Shards]],
    synchronous: Mapping[float, list[dict[str, np.ndarray]]],
    run_dir: Path,
) -> dict[float, np.ndarray]:
    """{α: float[S]}: ζ² of each split, where synchronous SGD has come to."""
    return {
        alpha: np.array(
            [
                record.kept(
                    run_dir,
                    f"dissimilarity_{alpha:g}_{number}",
                    partial(_dissimilarity, network, synchronous[alpha][number][one_network.PARAMS], shards),
                )["squares"][0]
                for number, shards in enumerate(own)
            ]
        )
        for alpha, own in splits.items()
    }


def _dissimilarity(network: one_network.Network, vector: np.ndarray, shards: base.Shards) -> dict[str, np.ndarray]:
    return {"squares": one_network.dissimilarity(network, vector, shards)}


def outcome(
    config: Config,
    method: Method,
    alpha: float,
    seeds: list[dict[str, np.ndarray]],
    dissimilarity: Mapping[float, np.ndarray],
) -> Outcome:
    """What the seeds have in the end."""
    names = ("train_loss", "test_accuracy", "of_workers", "sent")
    last = {name: np.stack([one[name] for one in seeds]) for name in names}
    return Outcome(
        method,
        alpha,
        dissimilarity[alpha],
        last["train_loss"],
        last["test_accuracy"],
        last["of_workers"],
        # of as many steps as the others have, also where few were taken
        ways_at_equal_bits.share(method.kind, last["sent"][:, -1], budget=config.budget, num_steps=config.num_steps),
    )


def claims(config: Config, outcomes: list[Outcome]) -> tuple[Claim, ...]:
    """Splits differ, bits do not; who suffers, and who is best with the budget."""
    low, high = config.alphas[0], config.alphas[-1]
    found = [heterogeneity_claim(config, outcomes), bits_claim([one for one in outcomes if one.method.has_budget])]
    chosen = [method for method in methods(config) if method.kind != "synchronous"]
    level = bands.simultaneous(len(chosen))
    for method in chosen:
        more = suffered(outcomes, method, low, methods(config)[0]) - suffered(
            outcomes, method, high, methods(config)[0]
        )
        band = bands.of_mean(more, level)
        name = f"{method.title}: loss above synchronous SGD, at α = {low:g} less at α = {high:g}"
        found.append(Claim.of_band(name, "> 0 at the lower end, simultaneously", band, holds=band.low > 0))
    found.append(harmless_claim(config, outcomes, chosen))
    local = [method for method in chosen if method.kind == "local"]
    if len(local) > 1:
        found.append(period_claim(config, outcomes, local))
    return (*found, *budget_claims(config, outcomes), *worker_claims(config, outcomes))


def of(outcomes: list[Outcome], method: Method, alpha: float) -> Outcome:
    """The one of this method on these splits."""
    return next(one for one in outcomes if one.method == method and one.alpha == alpha)


def suffered(outcomes: list[Outcome], method: Method, alpha: float, reference: Method) -> np.ndarray:
    """[S]: loss at x above that of `reference`, on the same splits."""
    return np.asarray(of(outcomes, method, alpha).loss - of(outcomes, reference, alpha).loss)


def heterogeneity_claim(config: Config, outcomes: list[Outcome]) -> Claim:
    """ζ² falls with α."""
    measured = np.stack([of(outcomes, methods(config)[0], alpha).dissimilarity for alpha in config.alphas], axis=1)
    ratios = [
        bands.of_positive(_ratio, measured[:, place : place + 2], bands.simultaneous(len(config.alphas) - 1))
        for place in range(len(config.alphas) - 1)
    ]
    least = int(np.argmin([float(ratio.middle) for ratio in ratios]))
    name = f"ζ² at α = {config.alphas[least]:g} / at α = {config.alphas[least + 1]:g}, least of neighbours"
    holds = all(ratio.low > 1 for ratio in ratios)
    return Claim.of_band(name, "> 1 at the lower end, simultaneously", ratios[least], holds=holds)


def _ratio(means: np.ndarray) -> float:
    return float(means[0] / means[1])


def bits_claim(outcomes: list[Outcome]) -> Claim:
    """Who has a budget sends it, in the mean over workers."""
    sent = bands.of_mean(
        np.stack([one.copies.mean(axis=1) for one in outcomes], axis=1), bands.simultaneous(len(outcomes))
    )
    worst = int(np.abs(sent.middle - 1).argmax())
    name = f"bits sent / budget, farthest from 1, of {outcomes[worst].method.title}"
    holds = np.all((sent.low - EQUAL <= 1) & (sent.high + EQUAL >= 1))
    return Claim.of_band(name, f"1, within {EQUAL:g} of the band", [float(end[worst]) for end in sent], holds=holds)


def harmless_claim(config: Config, outcomes: list[Outcome], chosen: list[Method]) -> Claim:
    """Where shards are alike nobody suffers."""
    high, reference = config.alphas[-1], methods(config)[0]
    more = np.stack([suffered(outcomes, method, high, reference) for method in chosen], axis=1)
    band = bands.of_mean(more, bands.simultaneous(len(chosen)))
    most = int(band.middle.argmax())
    name = f"α = {high:g}: loss above synchronous SGD, most, of {chosen[most].title}"
    holds = np.all(band.low <= SMALL)
    return Claim.of_band(name, f"<= {SMALL:g} at the lower end", [float(end[most]) for end in band], holds=holds)


def period_claim(config: Config, outcomes: list[Outcome], local: list[Method]) -> Claim:
    """The longer the period of local SGD, the more it suffers."""
    low = config.alphas[0]
    short, long = min(local, key=_period), max(local, key=_period)
    band = bands.of_mean(of(outcomes, long, low).loss - of(outcomes, short, low).loss)
    name = f"α = {low:g}: loss of {long.title} less {short.title}"
    return Claim.of_band(name, "> 0 at the lower end", band, holds=band.low > 0)


def _period(method: Method) -> int:
    return method.period


def budget_claims(config: Config, outcomes: list[Outcome]) -> list[Claim]:
    """With the budget local SGD is best where shards are most heterogeneous, and few steps are worst everywhere."""
    budgeted = [method for method in methods(config) if method.has_budget]
    few, others = budgeted[0], budgeted[1:]
    found = []
    local = next((method for method in others if method.kind == "local"), None)
    rivals = [method for method in others if method != local]
    if local is not None and rivals:
        low = config.alphas[0]
        more = np.stack([suffered(outcomes, method, low, local) for method in rivals], axis=1)
        band = bands.of_mean(more, bands.simultaneous(len(rivals)))
        least = int(band.middle.argmin())
        name = f"α = {low:g}, equal bits: loss above {local.title}, least, of {rivals[least].title}"
        expected = ">= 0 at the upper end, simultaneously"
        ends = [float(end[least]) for end in band]
        found.append(Claim.of_band(name, expected, ends, holds=np.all(band.high >= 0)))
    for alpha in (config.alphas[0], config.alphas[-1]):
        more = np.stack([suffered(outcomes, few, alpha, method) for method in others], axis=1)
        band = bands.of_mean(more, bands.simultaneous(len(others)))
        least = int(band.middle.argmin())
        name = (
            f"α = {alpha:g}, equal bits: loss of {few.num_steps} synchronous steps above {others[least].title}, least"
        )
        ends = [float(end[least]) for end in band]
        found.append(Claim.of_band(name, "> 0 at the lower end, simultaneously", ends, holds=np.all(band.low > 0)))
    return found


def worker_claims(config: Config, outcomes: list[Outcome]) -> list[Claim]:
    """Where shards are most heterogeneous no worker has what x has, before they communicate."""
    low = config.alphas[0]
    chosen = [method for method in methods(config) if method.kind != "synchronous"]
    gaps = np.stack(
        [one.accuracy - one.of_workers.max(axis=1) for one in (of(outcomes, method, low) for method in chosen)], axis=1
    )
    band = bands.of_mean(gaps, bands.simultaneous(len(chosen)))
    least = int(band.middle.argmin())
    name = f"α = {low:g}: test accuracy of x less that of the best worker, least, of {chosen[least].title}"
    ends = [float(end[least]) for end in band]
    return [Claim.of_band(name, "> 0 at the lower end, simultaneously", ends, holds=np.all(band.low > 0))]


def rows(config: Config, outcomes: list[Outcome]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table: a line for each method and α."""
    headings = (
        *("", "steps", "bits", "busiest", "α", "ζ²", "training loss", "above synchronous"),
        *("test accuracy (%)", "of workers (%)", "of the worst (%)"),
    )
    reference = methods(config)[0]
    return headings, [
        (
            one.method.title,
            str(one.method.num_steps),
            f"{one.copies.mean():.3f}",
            f"{one.copies.mean(axis=0).max():.3f}",
            f"{one.alpha:g}",
            f"{one.dissimilarity.mean():.3g}",
            tables.with_band(bands.of_mean(one.loss)),
            tables.with_band(bands.of_mean(suffered(outcomes, one.method, one.alpha, reference)))
            if one.method != reference
            else "–",
            tables.with_band(bands.of_mean(100 * one.accuracy)),
            f"{100 * one.of_workers.mean():.1f}",
            f"{100 * one.of_workers.min(axis=1).mean():.1f}",
        )
        for one in outcomes
    ]


def save_points(outcomes: list[Outcome], path: Path) -> None:
    """Every seed of every method on every split."""
    headings = ("kind", "period", "steps", "alpha", "seed", "zeta_sq", "copies", "loss", "accuracy", "workers", "worst")
    lines = [
        (
            *one.method[:3],
            one.alpha,
            seed,
            float(one.dissimilarity[seed]),
            float(one.copies[seed].mean()),
            float(one.loss[seed]),
            float(one.accuracy[seed]),
            float(one.of_workers[seed].mean()),
            float(one.of_workers[seed].min()),
        )
        for one in outcomes
        for seed in range(len(one.loss))
    ]
    tables.save_csv(path, headings, lines)


def plot(config: Config, outcomes: list[Outcome], path: Path) -> None:
    """Against ζ²: loss and accuracy with the budget, loss with other bits, and accuracy of workers."""
    reference = methods(config)[0]
    budgeted = [method for method in methods(config) if method.has_budget and method.kind != "synchronous"]
    others = [method for method in methods(config) if not method.has_budget and method != reference]
    with figures.paper():
        figure, axes = figures.panels(2, 2, height=4.8)
        for axis, shown, values, label, title in (
            (axes[0, 0], budgeted, _above, "training loss above synchronous", "equal bits"),
            (axes[0, 1], others or budgeted, _above, "training loss above synchronous", "equal steps, other bits"),
            (axes[1, 0], [reference, *budgeted], _accuracy, "test accuracy of x (%)", "equal bits, and synchronous"),
            (axes[1, 1], budgeted, _of_workers, "test accuracy of workers (%)", "equal bits, before communicating"),
        ):
            for method in shown:
                draw(axis, config, outcomes, method, values)
            axis.set(xscale="log", xlabel="heterogeneity ζ²", ylabel=label, title=title)
        figures.legend(figure, axes, columns=4)
        figures.save(figure, path)


def _above(config: Config, outcomes: list[Outcome], one: Outcome) -> np.ndarray:
    return suffered(outcomes, one.method, one.alpha, methods(config)[0])


def _accuracy(config: Config, outcomes: list[Outcome], one: Outcome) -> np.ndarray:
    del config, outcomes
    return 100 * one.accuracy


def _of_workers(config: Config, outcomes: list[Outcome], one: Outcome) -> np.ndarray:
    del config, outcomes
    return np.asarray(100 * one.of_workers.mean(axis=1))


def draw(axis: Axes, config: Config, outcomes: list[Outcome], method: Method, values: Values) -> None:
    """One curve with its band, of the measured heterogeneity of each α."""
    own = [of(outcomes, method, alpha) for alpha in config.alphas]
    band = bands.of_mean(np.stack([values(config, outcomes, one) for one in own], axis=1))
    positions = np.array([one.dissimilarity.mean() for one in own])
    kinds = ("synchronous", *KINDS)
    color = figures.COLORS[kinds.index(method.kind)]
    alone = [other for other in methods(config) if other.kind == method.kind and other.num_steps == method.num_steps]
    marker = figures.MARKERS[alone.index(method)]
    figures.draw(axis, positions, band, color=color, marker=marker, label=method.title)
