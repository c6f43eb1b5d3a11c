"""Does error feedback help asynchronous sparsified SGD?

A convolutional network learns CIFAR-10 by n processes that write the top k of their updates into a shared memory,
whose reads miss, in each coordinate, up to τ of the last writes. What a write leaves out is kept and written later
(with memory) or lost (without): both send the same number of bits. Synchronous SGD of n workers, which applies as many
gradients of the same size, α/n each, and sends the same, is the control.

Every setting has the step size that is best for it: what is lost makes steps shorter, so that one step size for both
would compare step sizes. It is found by doubling and halving, by the mean loss in the last quarter of the run over
seeds of its own; the five seeds measured are others. The advantage of memory is that loss without memory less that
with it, seed by seed, since both draw the same batches and the same reads. Test loss and accuracy are of the
parameters that stand in the memory at the end, without what processes hold back.

Answer (small: 400 gradients of 4 processes, a CNN of 13 962 parameters, 5 seeds; 95 % bands). Yes, where much is left
out. At top 1 % the advantage in loss is 0.136 [0.113, 0.160], 0.094 [0.051, 0.138] and 0.065 [0.011, 0.118] for τ = 1,
4 and 16, and 0.115 [0.078, 0.152] for the control; at top 5 % 0.082 [0.047, 0.117], 0.079 [0.022, 0.136], 0.038
[0.029, 0.048], and 0.060 [0.016, 0.104]. At top 30 % it cannot be told from zero for any τ, and is 0.018 [0.008,
0.029] for the control: where little is lost, little is gained, and only so far is the remark of arXiv 2001.05918 v1
seen here, that memory does not necessarily help. The advantage is less at τ = 16 than at τ = 1, at top 1 % and 5 %;
less than that of the control at top 1 %, by 0.050 [0.027, 0.073], while at top 5 % and 30 % bands of the difference
have zero inside. With all nine asynchronous bands wide enough to hold together, four stay above zero: top 1 % at τ = 1
and 4, top 5 % at τ = 1 and 16. With memory, top 1 % ends within 0.03 of the loss of sending everything, bands of the
difference having zero inside, with 1/69 of the bits. B is larger with memory, 23 to 33 against 1.5 to 6.8 at top 1 %:
it counts what is held back, and not what is lost for good. Each setting is at its own best α, found to a factor of
two, and B depends on it. The runs are short and far from the end of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, compressors, data, metrics, reads, run
from elastic_jax.algorithms import shared_memory_sgd, synchronous_sgd
from elastic_jax.base import Algorithm
from elastic_jax.console import page
from elastic_jax.problems import cnn
from experiments import bands, figures, record, sweeps, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band

QUESTION = (__doc__ or "").splitlines()[0]

SEARCHED: Mapping[str, str] = {"search, synchronous": "--", "search, largest τ": "-"}
"""Of which settings the searches are drawn, and how."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    dataset: str = "cifar10"
    """Of `data`; "digits" needs no download."""
    channels: tuple[int, ...] = (8, 16, 16)
    num_workers: int = 4
    num_gradients: int = 400
    """Of one run: so many single steps."""
    batch_size: int = 8
    fractions: tuple[float, ...] = (1.0, 0.3, 0.05, 0.01)
    """k/d of top-k; 1 sends everything."""
    delays: tuple[int, ...] = (1, 4, 16)
    """τ."""
    step_size: float = 0.05
    """α of a single step from which the search starts; later ones start from the best of their neighbour."""
    num_search_seeds: int = 2
    num_seeds: int = 5
    seed: int = 0

    @property
    def sparse(self) -> tuple[float, ...]:
        """The fractions that leave anything out."""
        return tuple(fraction for fraction in self.fractions if fraction < 1)


SIZES: Mapping[str, Config] = {
    "smoke": Config(dataset="digits", channels=(4, 4), num_gradients=240, batch_size=8, fractions=(0.02,), delays=(8,)),
    "small": Config(),
    "paper": Config(
        channels=(16, 32, 64),
        num_workers=16,
        num_gradients=100_000,
        batch_size=32,
        fractions=(1.0, 0.1, 0.01, 0.001),
        delays=(4, 16, 64),
        num_seeds=10,
    ),
}


class Setting(NamedTuple):
    """What is run."""

    fraction: float
    delay: int | None
    """τ; None is the synchronous control."""
    has_memory: bool

    @property
    def name(self) -> str:
        """Of its piece in the run folder."""
        late = "synchronous" if self.delay is None else f"late_{self.delay}"
        return f"{late}_top_{self.fraction:g}" + ("_memory" if self.has_memory else "")


class Row(NamedTuple):
    """What came of a setting. Arrays have the seeds first."""

    setting: Setting
    step_sizes: np.ndarray
    """[m]: those tried, α of a single step."""
    costs: np.ndarray
    """[m]: the loss of each in the last quarter."""
    losses: np.ndarray
    """[S]: training loss in the last quarter."""
    test_losses: np.ndarray
    accuracies: np.ndarray
    constant_sq: np.ndarray
    """[S]: mean of ‖x_t - v_t‖² / α², x_t with what is held back; α of a single step for the control, too."""
    num_bits: np.ndarray

    @property
    def step_size(self) -> float:
        """The best."""
        return float(self.step_sizes[self.costs.argmin()])


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    problem = sweeps.as_vector(
        cnn.build(
            num_workers=config.num_workers,
            dataset=data.load(config.dataset),
            batch_size=config.batch_size,
            channels=config.channels,
        )
    )
    found: dict[Setting, Row] = {}
    for setting in settings(config):
        near = [row.step_size for other, row in found.items() if is_neighbour(other, setting)]
        start_size = near[-1] if near else config.step_size
        measured = record.kept(run_dir, setting.name, partial(measure, config, problem, setting, start_size))
        row = Row(setting, **measured)
        found[setting] = row
        console.print(f"[bold]{setting.name}[/bold]: loss {row.losses.mean():.3f} at α = {row.step_size:g}")

    headings, lines = rows(found, config)
    caption = "loss: training loss in the last quarter; advantage: without less with memory; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(found, run_dir / "points.csv")
    plot(found, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(found, config), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def settings(config: Config) -> list[Setting]:
    """All of them; sending everything needs no memory."""
    late = (None, *config.delays)
    return [
        Setting(fraction, delay, has_memory)
        for fraction in config.fractions
        for delay in late
        for has_memory in ((False, True) if fraction < 1 else (False,))
    ]


def is_neighbour(setting: Setting, other: Setting) -> bool:
    """Whether the best step size of one is where to begin with the other: all but τ is the same."""
    return setting._replace(delay=None) == other._replace(delay=None)


def build(setting: Setting, problem: base.Problem) -> Algorithm:
    """The algorithm, with a step size of 1: α is among the data."""
    given: dict[str, Any] = {"num_workers": problem.num_workers, "step_size": 1.0, "error_feedback": setting.has_memory}
    if setting.fraction < 1:
        given["compressor"] = compressors.top_k(setting.fraction)
    if setting.delay is None:
        return synchronous_sgd.build(problem.oracle, **given)
    return shared_memory_sgd.build(problem.oracle, **given, reads=reads.ages(setting.delay))


def measure(config: Config, problem: base.Problem, setting: Setting, start_size: float) -> dict[str, np.ndarray]:
    """The search for the step size, and all seeds with the best: the fields of `Row` but the first."""
    algorithm = build(setting, sweeps.sweepable(problem))
    params = problem.init(jax.random.key(config.seed))
    num_active = 1 if setting.delay is not None else config.num_workers
    num_steps = config.num_gradients // num_active
    measured = {
        "losses": metrics.loss(1),
        "distances_sq": metrics.consistency_distance_sq(1),
        "bits": metrics.total_bits(num_steps),
    }

    def runs(step_size: float, key: int, num_seeds: int) -> run.Result:
        return run.run(
            algorithm,
            params,
            sweeps.with_step_size(problem, step_size * num_active),
            num_steps=num_steps,
            key=jax.random.key(key),
            seeds=num_seeds,
            metrics=measured,
            on_divergence="continue",
        )

    def cost(step_size: float) -> float:
        losses = runs(step_size, config.seed + 1, config.num_search_seeds).history["losses"][1]
        return float(last_quarter(losses).mean())

    tried = sweeps.search(cost, start_size)
    best = min(tried, key=tried.__getitem__)
    result = runs(best, config.seed + 2, config.num_seeds)
    tests = [
        problem.evaluate(jax.tree.map(lambda leaf, s=seed: leaf[s], result.state.params))
        for seed in range(config.num_seeds)
    ]
    distances_sq = result.history["distances_sq"][1].astype(np.float64)
    return {
        "step_sizes": np.array(list(tried)),
        "costs": np.array(list(tried.values())),
        "losses": last_quarter(result.history["losses"][1]),
        "test_losses": np.array([float(test["test_loss"]) for test in tests]),
        "accuracies": np.array([float(test["test_accuracy"]) for test in tests]),
        "constant_sq": distances_sq.mean(axis=(1, 2)) / best**2,
        "num_bits": np.asarray(result.history["bits"][1][0, -1], np.float64),
    }


def last_quarter(losses: np.ndarray) -> np.ndarray:
    """Means over the last quarter of the steps: [S, T] -> float64[S]."""
    return np.asarray(losses, np.float64)[:, -(losses.shape[1] // 4) :].mean(axis=1)


def advantage(found: Mapping[Setting, Row], fraction: float, delay: int | None, field: str = "losses") -> np.ndarray:
    """Without memory less with it, seed by seed: [S]."""
    without, with_memory = (getattr(found[Setting(fraction, delay, kept)], field) for kept in (False, True))
    return np.asarray(without - with_memory)


def claims(found: Mapping[Setting, Row], config: Config) -> tuple[Claim, ...]:
    """Memory helps the control most; with asynchrony it need not, and the advantage is smaller."""
    smallest = min(config.sparse)
    gain = bands.of_mean(advantage(found, smallest, None))
    title = f"synchronous, {_top(smallest)}: advantage of memory"
    judged = [Claim.of_band(title, "> 0 at the lower end", gain, holds=gain.low > 0)]
    level = bands.simultaneous(len(config.sparse) * len(config.delays))
    gains = {
        (fraction, delay): bands.of_mean(advantage(found, fraction, delay), level)
        for fraction in config.sparse
        for delay in config.delays
    }
    (fraction, delay), least = min(gains.items(), key=lambda item: float(item[1].middle))
    title = f"asynchronous: least advantage of memory, at {_top(fraction)} and τ = {delay}"
    expected = "<= 0 at the lower end, simultaneously: it does not necessarily help"
    judged.append(Claim.of_band(title, expected, least, holds=least.low <= 0))
    for fraction in config.sparse:
        late = max(config.delays)
        change = bands.of_mean(advantage(found, fraction, late) - advantage(found, fraction, None))
        title = f"{_top(fraction)}: advantage at τ = {late} less that of the synchronous control"
        judged.append(Claim.of_band(title, "< 0", change, holds=change.middle < 0))
    return tuple(judged)


def rows(found: Mapping[Setting, Row], config: Config) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table: a pair of settings each."""
    headings = (
        "",
        "Mbit",
        "α without",
        "loss without",
        "B without",
        "α with",
        "loss with",
        "advantage, loss",
        "advantage, accuracy (%)",
        "B with",
    )
    lines: list[tuple[str, ...]] = []
    for fraction in config.fractions:
        for delay in (None, *config.delays):
            without = found[Setting(fraction, delay, False)]
            label = f"{_top(fraction)}, " + ("synchronous" if delay is None else f"τ = {delay}")
            loss, constant = tables.with_band(bands.of_mean(without.losses)), math.sqrt(without.constant_sq.mean())
            with_memory = ("–",) * 5
            if fraction < 1:
                other = found[Setting(fraction, delay, True)]
                with_memory = (
                    f"{other.step_size:.3g}",
                    tables.with_band(bands.of_mean(other.losses)),
                    tables.with_band(bands.of_mean(advantage(found, fraction, delay))),
                    tables.with_band(bands.of_mean(-100 * advantage(found, fraction, delay, "accuracies"))),
                    f"{math.sqrt(other.constant_sq.mean()):.3g}",
                )
            bits, size = f"{float(without.num_bits) / 1e6:.2f}", f"{without.step_size:.3g}"
            lines.append((label, bits, size, loss, f"{constant:.3g}", *with_memory))
    return headings, lines


def save_points(found: Mapping[Setting, Row], path: Path) -> None:
    """Every seed of every setting."""
    headings = ("fraction", "delay", "memory", "step_size", "bits", "seed", "loss", "test_loss", "test_accuracy", "B")
    lines = []
    for setting, row in found.items():
        fixed = (setting.fraction, "synchronous" if setting.delay is None else setting.delay, int(setting.has_memory))
        columns = zip(row.losses, row.test_losses, row.accuracies, np.sqrt(row.constant_sq), strict=True)
        for seed, values in enumerate(columns):
            lines.append((*fixed, row.step_size, int(row.num_bits), seed, *map(float, values)))
    tables.save_csv(path, headings, lines)
    tried = [
        (setting.fraction, "synchronous" if setting.delay is None else setting.delay, int(setting.has_memory), *point)
        for setting, row in found.items()
        for point in zip(map(float, row.step_sizes), map(float, row.costs), strict=True)
    ]
    tables.save_csv(path.with_name("searches.csv"), ("fraction", "delay", "memory", "step_size", "loss"), tried)


def plot(found: Mapping[Setting, Row], config: Config, path: Path) -> None:
    """Loss with and without memory against τ, a panel for each k; the advantage; and the searches."""
    late = (None, *config.delays)
    positions = np.arange(len(late))
    num_panels = len(config.sparse)
    with figures.paper():
        figure, axes = figures.panels(2, num_panels + 1, height=3.8)
        for panel, fraction in enumerate(config.sparse):
            axis = axes[0, panel]
            if 1.0 in config.fractions:
                whole = stacked_bands([found[Setting(1.0, delay, False)].losses for delay in late])
                figures.draw(axis, positions, whole, color=figures.GREY, marker="x", label="everything sent")
            for has_memory in (False, True):
                band = stacked_bands([found[Setting(fraction, delay, has_memory)].losses for delay in late])
                figures.draw(axis, positions, band, **_style(has_memory))
            axis.set(title=_top(fraction), xlabel="τ")
            draw_searches(axes[1, panel], found, config, fraction)
            gains = stacked_bands([advantage(found, fraction, delay) for delay in late])
            figures.draw(
                axes[0, -1],
                positions,
                gains,
                color=figures.COLORS[2 + panel],
                marker=figures.MARKERS[2 + panel],
                label=_top(fraction),
            )
            constants = np.array(
                [[found[Setting(fraction, delay, kept)].constant_sq.mean() for delay in late] for kept in (False, True)]
            )
            for kept, style in ((0, ":"), (1, "-")):
                shown = np.where(constants[kept] > 0, np.sqrt(constants[kept]), np.nan)
                axes[1, -1].plot(
                    positions, shown, style, color=figures.COLORS[2 + panel], marker=figures.MARKERS[2 + panel]
                )
        axes[0, -1].axhline(0.0, color="black", linewidth=0.6)
        axes[0, -1].set(title="advantage of memory", xlabel="τ", ylabel="loss without − with")
        axes[1, -1].set(title="B; dotted: without memory", xlabel="τ", yscale="log")
        figures.plain_decades(axes[1, -1])
        for axis in (*axes[0], axes[1, -1]):
            axis.set_xticks(positions, ["sync.", *(str(delay) for delay in config.delays)])
        axes[0, 0].set_ylabel("training loss, last quarter")
        axes[1, 0].set_ylabel("loss in the search")
        limits = [axis.get_ylim() for axis in axes[0, :-1]]
        for axis in axes[0, :-1]:
            axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        for name, style in SEARCHED.items():
            axes[1, 0].plot([], [], style, color="black", linewidth=0.8, label=name)
        figures.legend(figure, axes, columns=4)
        figures.save(figure, path)


def draw_searches(axis: Axes, found: Mapping[Setting, Row], config: Config, fraction: float) -> None:
    """Loss against step size: of the control, and where reads are latest."""
    for delay, style in zip((None, max(config.delays)), SEARCHED.values(), strict=True):
        for has_memory in (False, True):
            row = found[Setting(fraction, delay, has_memory)]
            look = _style(has_memory)
            axis.plot(row.step_sizes, row.costs, style, color=look["color"], marker=look["marker"], linewidth=0.8)
    sizes = {float(size) for row in found.values() if row.setting.fraction == fraction for size in row.step_sizes}
    axis.set(xlabel="α of a single step", xscale="log")
    figures.plain_ticks(axis, sorted(sizes)[::2])


def stacked_bands(columns: list[np.ndarray]) -> Band:
    """The band of the mean of each column of seeds."""
    return bands.of_mean(np.stack(columns, axis=1))


def _top(fraction: float) -> str:
    return "everything" if fraction == 1 else f"top {100 * fraction:g} %"


def _style(has_memory: bool) -> dict[str, str]:
    index = int(has_memory)
    label = "with memory" if has_memory else "without memory"
    return {"color": figures.COLORS[1 - index], "marker": figures.MARKERS[1 - index], "label": label}
