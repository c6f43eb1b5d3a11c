"""DiLoCo-style outer momentum: does it close the gap at H = 50?

Data-parallel training takes one AdamW step on the mean gradient of all workers. Workers that take AdamW steps of their
own and average every H of them send 1/H as much, and lose something: the gap. An outer optimiser takes what a round
has come to for a gradient. How much of the gap does it close, at the same number of steps and of examples?

Plain averaging, Nesterov momentum as DiLoCo has it, SlowMo and Adam are set side by side on a convolutional network
for CIFAR-10, whose shards are alike or different; inner states are kept, averaged or reset; and what is sent goes in
fragments, late, and in four bits. What is compared is the loss of x on held-out images after the last step, where all
periods end; bands are over seeds, which are paired: a seed is one split and one order of examples for all methods.

All rates are searched at H = 50, by doubling and halving until both sides are worse, on seeds of their own and on
other held-out images: first the inner one with the outer one as published, then, where there is one, the outer. Every
method has its own inner rate, synchronous training too. The other periods and the variants have the rates of H = 50.

Answer (small: 8 workers, 500 steps, images of 8 x 8 pixels, 5 seeds; 95 % bands). A fifth of the gap of 0.091 [0.072,
0.109] where shards are alike: Nesterov closes 0.21 [0.07, 0.35], SlowMo 0.02 [-0.09, 0.14], Adam is worse than
averaging. Four bits, fragments and lateness cost 0.015 [0.003, 0.026] for 1/8 of the bits. With Dirichlet 0.1 the gap
is 0.412 [0.361, 0.463], Nesterov closes -0.04 [-0.27, 0.18] of it, and averaging the states of AdamW 0.44 [0.31, 0.57].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from elastic_jax.console import page
from experiments import bands, figures, outer_training, record, sweeps, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.one_network import IID
from experiments.outer_training import (
    AVERAGING,
    FOUR_BITS,
    FRAGMENTS,
    NESTEROV,
    OUTER,
    PUBLISHED,
    STATES,
    STREAMING,
    SYNCHRONOUS,
    Rates,
    Setting,
    Trainer,
)

QUESTION = (__doc__ or "").splitlines()[0]

ALLOWED = 0.01
"""Of the loss: what sending in fragments, late or in four bits may cost."""
EXACT = 1e-6
"""Single precision of counted bits."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    dataset: str = "cifar10"
    """Of `data`; "digits" needs no download."""
    reduce: int = 4
    """Side of the squares of pixels that are made one."""
    channels: tuple[int, ...] = (8, 16, 32)
    num_examples: int = 20_000
    num_test: int = 2000
    """Held-out images for results, and as many others for the search of rates."""
    alphas: tuple[float, ...] = (IID, 0.1)
    """Concentrations of the Dirichlet splits; ∞ is shards that are alike."""
    num_workers: int = 8
    batch_size: int = 8
    num_steps: int = 500
    period: int = 50
    """H of the question."""
    periods: tuple[int, ...] = (1, 5, 10, 20, 50, 100)
    """Divisors of the number of steps, with that of the question."""
    outer: tuple[str, ...] = tuple(OUTER)
    """`NESTEROV` and others of `OUTER`."""
    variants: tuple[str, ...] = (*STATES, *STREAMING)
    num_fragments: int = 3
    overlap: int = 5
    merge: float = 0.5
    step_size: float = 0.004
    """Inner rate from which searches start."""
    weight_decay: float = 0.01
    num_points: int = 10
    """Points of a curve, each the mean over as many steps."""
    num_seeds: int = 5
    num_tuning_seeds: int = 1
    """Further seeds, for the search of rates."""
    seed: int = 0

    @property
    def sizes(self) -> outer_training.Sizes:
        """What training is told."""
        return outer_training.Sizes(**{name: getattr(self, name) for name in outer_training.Sizes._fields})


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        dataset="digits",
        reduce=1,
        channels=(4,),
        num_examples=1000,
        num_test=150,
        alphas=(IID,),
        num_workers=4,
        batch_size=4,
        num_steps=100,
        periods=(10, 50),
        outer=(NESTEROV,),
        variants=(FRAGMENTS, FOUR_BITS),
        num_points=10,
        step_size=0.008,
    ),
    "small": Config(),
    "paper": Config(
        reduce=1,
        channels=(16, 32, 64),
        num_examples=50_000,
        num_test=5000,
        alphas=(IID, 1.0, 0.1),
        batch_size=32,
        num_steps=20_000,
        periods=(1, 5, 10, 20, 50, 100, 200, 500),
        num_points=50,
        num_seeds=10,
        num_tuning_seeds=3,
    ),
}


class Point(NamedTuple):
    """One setting on one split."""

    alpha: float
    setting: Setting
    rates: Rates
    last: np.ndarray
    """[S]: loss at x on held-out images after the last step."""
    losses: np.ndarray
    """[S, m]: training losses of workers, means over blocks of steps."""
    copies: float
    """Sent by a worker, of all parameters."""
    peak: float
    """The same, in the step in which it sends most."""


Points = Mapping[tuple[float, Setting], Point]


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Searches rates, trains, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    trainer = Trainer(
        config.sizes, config.alphas, num_seeds=config.num_seeds + config.num_tuning_seeds, seed=config.seed
    )
    found: dict[tuple[float, Setting], Point] = {}
    for alpha in config.alphas:
        rates = all_rates(config, partial(cost, config, trainer, alpha), partial(kept_search, run_dir, alpha))
        for setting in settings(config):
            own = rates[setting.method]
            compute = partial(measure, config, trainer, alpha, setting, own)
            measured = record.kept(run_dir, f"{alpha:g}_{setting.name}", compute)
            means = {name: float(measured[name]) for name in ("copies", "peak")}
            found[alpha, setting] = Point(alpha, setting, own, measured["last"], measured["losses"], **means)
            loss = measured["last"].mean()
            console.print(f"{split(alpha)}, [bold]{setting.title}[/bold], H = {setting.period}: loss {loss:.4f}")

    headings, lines = rows(config, found)
    caption = "loss of x on held-out images after the last step; copies of all parameters a worker sent; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"H = {config.period}", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(found, run_dir / "points.csv")
    plot(config, found, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(config, found), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def split(alpha: float) -> str:
    """In words."""
    return "shards alike" if alpha == IID else f"Dirichlet {alpha:g}"


def settings(config: Config) -> list[Setting]:
    """All that is reported."""
    outer = [name for name in config.outer if name != NESTEROV]
    return [
        Setting(SYNCHRONOUS),
        *(Setting(method, period) for method in (AVERAGING, NESTEROV) for period in config.periods),
        *(Setting(method, config.period) for method in (PUBLISHED, *outer)),
        *(Setting(AVERAGING if name in STATES else NESTEROV, config.period, name) for name in config.variants),
    ]


Search = Callable[[str, Callable[[float], float], float], float]
"""`search(name, cost, start)`: the best rate."""


def all_rates(config: Config, cost: Callable[[Setting, Rates], float], search: Search) -> dict[str, Rates]:
    """{method: its rates}, as the module says."""
    found = {}
    for method in (SYNCHRONOUS, AVERAGING, *config.outer):
        setting = Setting(method, 1 if method == SYNCHRONOUS else config.period)
        start = Rates(config.step_size, OUTER[method].rate if method in OUTER else 1.0)
        inner = search(f"{method}_inner", partial(_of_inner, cost, setting, start), start.inner)
        start = start._replace(inner=inner)
        if method == NESTEROV:
            found[PUBLISHED] = start
        if method in OUTER:
            outer = search(f"{method}_outer", partial(_of_outer, cost, setting, start), start.outer)
            start = start._replace(outer=outer)
        found[method] = start
    return found


def _of_inner(cost: Callable[[Setting, Rates], float], setting: Setting, rates: Rates, inner: float) -> float:
    return cost(setting, rates._replace(inner=inner))


def _of_outer(cost: Callable[[Setting, Rates], float], setting: Setting, rates: Rates, outer: float) -> float:
    return cost(setting, rates._replace(outer=outer))


def kept_search(run_dir: Path, alpha: float, name: str, cost: Callable[[float], float], start: float) -> float:
    """The best rate of a search, which is kept."""
    tried = record.kept(run_dir, f"{alpha:g}_rate_{name}", partial(_searched, cost, start))
    return float(tried["rates"][tried["losses"].argmin()])


def _searched(cost: Callable[[float], float], start: float) -> dict[str, np.ndarray]:
    tried = sweeps.search(cost, start)
    return {"rates": np.array(list(tried)), "losses": np.array(list(tried.values()))}


def cost(config: Config, trainer: Trainer, alpha: float, setting: Setting, rates: Rates) -> float:
    """The loss on images of the search, over its own seeds."""
    numbers = range(config.num_seeds, config.num_seeds + config.num_tuning_seeds)
    return float(np.mean([trainer.train(alpha, setting, rates, number).search_loss for number in numbers]))


def measure(config: Config, trainer: Trainer, alpha: float, setting: Setting, rates: Rates) -> dict[str, np.ndarray]:
    """All seeds of one setting: the fields of `Point` that are measured."""
    runs = [trainer.train(alpha, setting, rates, number) for number in range(config.num_seeds)]
    return {
        "last": np.array([trained.loss for trained in runs]),
        "losses": np.stack([trained.losses.reshape(config.num_points, -1).mean(axis=1) for trained in runs]),
        "copies": runs[0].copies.sum(),
        "peak": runs[0].copies.max(),
    }


def gap(config: Config, found: Points, alpha: float) -> np.ndarray:
    """[S]: the loss of plain averaging less that of synchronous training."""
    return found[alpha, Setting(AVERAGING, config.period)].last - found[alpha, Setting(SYNCHRONOUS)].last


def closed(config: Config, found: Points, point: Point, level: float = bands.LEVEL) -> Band:
    """How much of the gap, of means over seeds: 0 is plain averaging, 1 synchronous training; NaN if none is seen."""
    if not bands.of_mean(gap(config, found, point.alpha)).low > 0:
        return Band(*(np.asarray(np.nan),) * 3)
    gain = found[point.alpha, Setting(AVERAGING, config.period)].last - point.last
    return bands.of_any(_ratio, np.stack([gain, gap(config, found, point.alpha)], axis=1), level)


def _ratio(means: np.ndarray) -> float:
    return float(means[0] / means[1])


def claims(config: Config, found: Points) -> tuple[Claim, ...]:
    """There is a gap, it grows with H, momentum closes it, and what is sent may be less."""
    judged = []
    for alpha in config.alphas:
        of = {setting: point for (own, setting), point in found.items() if own == alpha}
        where, period = split(alpha), config.period
        band = bands.of_mean(gap(config, found, alpha))
        title = f"{where}: loss of averaging with H = {period} less that of synchronous training, the gap"
        judged.append(Claim.of_band(title, "> 0 at the lower end", band, holds=band.low > 0))

        longest, shortest = max(config.periods), min(config.periods)
        growth = of[Setting(AVERAGING, longest)].last - of[Setting(AVERAGING, shortest)].last
        band = bands.of_mean(growth)
        title = f"{where}: loss of averaging with H = {longest} less that with H = {shortest}"
        judged.append(Claim.of_band(title, "> 0 at the lower end", band, holds=band.low > 0))

        level = bands.simultaneous(len(config.outer))
        for method in config.outer:
            point = of[Setting(method, period)]
            band = bands.of_mean(of[Setting(AVERAGING, period)].last - point.last, level)
            title = f"{where}, {method}: loss of averaging less its own"
            judged.append(Claim.of_band(title, "> 0 at the lower end, simultaneously", band, holds=band.low > 0))
        band = bands.of_mean(of[Setting(SYNCHRONOUS)].last - of[Setting(NESTEROV, period)].last)
        title = f"{where}, {NESTEROV}: loss of synchronous training less its own, the whole gap"
        judged.append(Claim.of_band(title, ">= 0 at the upper end", band, holds=band.high >= 0))
        judged += streaming_claims(config, of, where)
    return tuple(judged)


def streaming_claims(config: Config, of: Mapping[Setting, Point], where: str) -> list[Claim]:
    """Fragments send as much in all and less at once, four bits an eighth; neither costs much."""
    whole = of[Setting(NESTEROV, config.period)]
    allowed = ALLOWED * float(of[Setting(AVERAGING, config.period)].last.mean())
    own = [variant for variant in STREAMING if variant in config.variants]
    level, judged = bands.simultaneous(len(own)), []
    for variant in own:
        point = of[Setting(NESTEROV, config.period, variant)]
        band = bands.of_mean(point.last - whole.last, level)
        title, expected = (
            f"{where}, {variant}: loss less that of the whole at once",
            f"<= {allowed:.2g} at the upper end",
        )
        judged.append(Claim.of_band(title, f"{expected}, simultaneously", band, holds=band.high <= allowed))
    split_up, four_bits = (of[Setting(NESTEROV, config.period, variant)] for variant in (FRAGMENTS, FOUR_BITS))
    total, peak = split_up.copies / whole.copies, split_up.peak / whole.peak
    title = f"{where}, {FRAGMENTS}: bits at once / those of the whole, at equal bits of a run"
    holds = abs(total - 1) < EXACT and 1 / config.num_fragments <= peak < 1
    judged.append(Claim(title, f"from 1/{config.num_fragments} to 1", peak, peak, peak, holds))
    share = four_bits.copies / whole.copies
    title = f"{where}, {FOUR_BITS}: bits of a run / those of the whole"
    judged.append(Claim(title, "from 1/8 to 1/7", share, share, share, 1 / 8 <= share <= 1 / 7))
    return judged


def rows(config: Config, found: Points) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table: synchronous training, and all at the period of the question."""
    headings = ("", "shards", "inner rate", "outer rate", "copies", "at once", "loss", "gap closed")
    lines: list[tuple[str, ...]] = []
    for point in found.values():
        setting = point.setting
        if setting.period != config.period and setting.method != SYNCHRONOUS:
            continue
        is_end = setting in (Setting(SYNCHRONOUS), Setting(AVERAGING, config.period))
        outer = f"{point.rates.outer:.3g}" if setting.method in (*OUTER, PUBLISHED) else "–"
        lines.append(
            (
                setting.title,
                split(point.alpha),
                f"{point.rates.inner:.3g}",
                outer,
                f"{point.copies:.3g}",
                f"{point.peak:.3g}",
                tables.with_band(bands.of_mean(point.last)),
                in_words(closed(config, found, point)) if not is_end else "–",
            )
        )
    return headings, lines


def in_words(band: Band) -> str:
    """A share of the gap, if there is one."""
    return "no gap" if np.isnan(band.middle) else tables.with_band(band)


def save_points(found: Points, path: Path) -> None:
    """Every seed of every setting, after the last step."""
    headings = ("alpha", "method", "variant", "period", "inner_rate", "outer_rate", "seed", "loss", "copies", "peak")
    lines = [
        (
            alpha,
            setting.method,
            setting.variant,
            setting.period,
            *point.rates,
            seed,
            float(loss),
            point.copies,
            point.peak,
        )
        for (alpha, setting), point in found.items()
        for seed, loss in enumerate(point.last)
    ]
    tables.save_csv(path, headings, lines)


def plot(config: Config, found: Points, path: Path) -> None:
    """A row for each split: the loss against H, how much of the gap is closed, the way of the loss."""
    with figures.paper():
        figure, axes = figures.panels(len(config.alphas), 3, height=2.0 * len(config.alphas) + 0.5)
        for row, alpha in zip(axes, config.alphas, strict=True):
            draw_periods(row[0], config, found, alpha)
            draw_closed(row[1], config, found, alpha)
            draw_curves(row[2], config, found, alpha)
        for axis, label in zip(axes[-1], ("H", "of the gap closed", "steps"), strict=True):
            axis.set_xlabel(label)
        figures.legend(figure, axes, columns=5)
        figures.save(figure, path)


def draw_periods(axis: Axes, config: Config, found: Points, alpha: float) -> None:
    """The last loss against H."""
    positions = np.array(config.periods)
    for method, color, marker in zip((AVERAGING, NESTEROV), figures.COLORS[:2], figures.MARKERS[:2], strict=True):
        last = np.stack([found[alpha, Setting(method, period)].last for period in config.periods], axis=1)
        figures.draw(axis, positions, bands.of_mean(last), color=color, marker=marker, label=method)
    band = bands.of_mean(found[alpha, Setting(SYNCHRONOUS)].last)
    axis.axhline(float(band.middle), color="black", linestyle="--", linewidth=0.8, label=SYNCHRONOUS)
    axis.axhspan(float(band.low), float(band.high), color="black", alpha=0.08, linewidth=0)
    axis.set(xscale="log", ylabel="held-out loss", title=f"{split(alpha)}: loss after {config.num_steps} steps")
    figures.plain_ticks(axis, positions)


def draw_closed(axis: Axes, config: Config, found: Points, alpha: float) -> None:
    """A line for each way at the period of the question."""
    own = [point for (at, setting), point in found.items() if at == alpha and setting.period == config.period]
    own = [point for point in own if point.setting != Setting(AVERAGING, config.period)]
    for place, point in enumerate(own):
        band = closed(config, found, point)
        color = figures.COLORS[0 if point.setting.method == AVERAGING else 1]
        axis.plot([band.low, band.high], [place, place], color=color)
        axis.plot(band.middle, place, color=color, marker="o")
    axis.set_yticks(range(len(own)), [point.setting.title for point in own])
    axis.tick_params(axis="y", labelsize=5.5)
    axis.set_ylim(len(own) - 0.5, -0.5)
    for end, style in ((0.0, "-"), (1.0, "--")):
        axis.axvline(end, color="black", linestyle=style, linewidth=0.8)
    low, high = axis.get_xlim()
    axis.set_xlim(max(low, -2.0), min(high, 2.0))  # what is far outside does not hide the rest
    is_seen = bool(np.isfinite(closed(config, found, own[0]).middle))
    axis.set_title(f"gap closed, H = {config.period}" if is_seen else f"no gap is seen, H = {config.period}")


def draw_curves(axis: Axes, config: Config, found: Points, alpha: float) -> None:
    """Losses on the way, without the first block."""
    steps = (np.arange(config.num_points) + 0.5) * (config.num_steps / config.num_points)
    named = [(SYNCHRONOUS, "black"), (AVERAGING, figures.COLORS[0]), (NESTEROV, figures.COLORS[1])]
    for method, color in named:
        point = found[alpha, Setting(method, 1 if method == SYNCHRONOUS else config.period)]
        band = bands.of_mean(point.losses[:, 1:])
        figures.draw(axis, steps[1:], band, color=color, linestyle="--" if method == SYNCHRONOUS else "-")
    axis.set_title(f"training loss of workers, H = {config.period}")
