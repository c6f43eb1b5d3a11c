"""How elastic is each relaxation during training?

A convolutional network learns CIFAR-10 under every relaxation of the paper's table, and under two that lose gradients
for ever, with the same parameters at the start, as many gradients and several seeds. At every step

    B_t² = mean_i E‖x_t - v_t^i‖² / α²,    E the mean over seeds

is set against what the variant declares. Its M² is measured on *other* seeds: for the bound of one seed, the largest
over steps and workers of the mean of ‖g‖² over the others. σ² likewise, from the gradients that workers of a
synchronous run take at one x. Bounds by σ hold for step sizes small enough against L, which nobody knows for a
network: they are drawn as the theory has them, granted that. What compression without memory loses is measured
against the sequence that applies all gradients in full.

Gradients grow while a network learns, and B with them. Whether B grows of itself is asked of B_t / M_t, M_t² the mean
of ‖g‖² in the same steps.

Answer (small: 8 workers, 150 steps of 64 examples, a CNN with 14,000 parameters, 5 seeds; 95 % bands). Every
relaxation that has a bound stays elastic. From the second quarter of the run to the last B grows by 1.00 to 1.26, M by
as much, and B / M by 0.85 [0.80, 0.92] (crashes) to 1.05 [1.00, 1.09] (variance-bounded scheduler); messages lost for
ever make it grow by 1.44 [1.34, 1.56], compression without memory by 2.13 [2.02, 2.24]. No bound is passed: B_t
reaches 0.36 of what is declared for drops, 0.06 to 0.21 for late messages, crashes, shared memory and schedulers, and
1 % or less with error feedback, whose worst case training never meets. In shared memory the paper's √d τ M is 118
times the declared τ M, and nearly 600 times the largest B_t. What a relaxation costs is not read off its B alone:
error feedback (B = 2.6, 2.9) and shared memory (10.7, at an α of one eighth) end at or below the synchronous loss of
1.83 [1.82, 1.85], late messages at 1.94 [1.91, 1.97] (B = 2.6) and their stand-ins, with B = 3.9, at 2.04 [2.03,
2.06].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from elastic_jax import base, compressors, data, metrics, run, stacked
from elastic_jax.algorithms import synchronous_sgd
from elastic_jax.console import page
from elastic_jax.problems import cnn
from experiments import bands, figures, record, relaxations, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.relaxations import Relaxation

QUESTION = (__doc__ or "").splitlines()[0]

GROWTH = 1.1
"""The growth of B / M from which on B is said to grow."""
COLUMNS = 4
"""Of panels."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    dataset: str = "cifar10"
    """Of `data`; "digits" needs no download."""
    channels: tuple[int, ...] = (8, 16, 16)
    num_workers: int = 8
    num_steps: int = 150
    """Steps of all workers, n gradients each."""
    step_size: float = 0.1
    """α of such a step."""
    batch_size: int = 8
    num_seeds: int = 5
    num_points: int = 30
    """Points of a curve: each is over so many steps of its own."""
    rows: tuple[str, ...] = ()
    """Names of relaxations; () means all."""
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        dataset="digits",
        channels=(4, 4),
        num_workers=4,
        num_steps=40,
        num_points=8,
        rows=("drops", "lost"),
    ),
    "small": Config(),
    "paper": Config(channels=(16, 32, 64), num_steps=20_000, batch_size=32, num_seeds=10, num_points=100),
}


class Row(NamedTuple):
    """One relaxation. Arrays have the seeds first, then the points of the curve."""

    relaxation: Relaxation
    squares: np.ndarray
    """[S, m], gradient units squared: mean over workers and the steps of a point of ‖x_t - v_t^i‖² / α²."""
    ratios: np.ndarray
    """[S, m]: the same over the declared B², M² of the other seeds; NaN where nothing is declared."""
    bound: float | None
    """B declared, with M² of all seeds."""
    bound_by_variance: float | None
    """B by σ, granted a small step size."""
    paper: float | None
    """The paper's B where it is another."""
    moments: np.ndarray
    """[S, m], gradient units squared: M_t², the mean of ‖g‖² over workers and the steps of a point."""
    losses: np.ndarray
    """[S, m]."""

    @property
    def growth(self) -> Band:
        """B of the last quarter of the run over that of the second."""
        return bands.of_positive(partial(root_of_growth, of=1), self._quarters)

    @property
    def own_growth(self) -> Band:
        """The same of B / M."""
        return bands.of_positive(partial(root_of_growth, of=2), self._quarters)

    @property
    def _quarters(self) -> np.ndarray:
        """[S, 2, 2]: B², M² (axis 1) in the second and the last quarter (axis 2)."""
        both = np.stack([self.squares, self.moments], axis=1)
        quarter = both.shape[2] // 4
        return np.stack([both[..., quarter : 2 * quarter].mean(axis=2), both[..., -quarter:].mean(axis=2)], axis=2)


def root_of_growth(means: np.ndarray, *, of: int) -> float:
    """By which factor B (of = 1) or B / M (of = 2) grew: means [2, 2] of B², M² in two quarters."""
    growth = np.sqrt(means[:, 1] / means[:, 0])
    return float(growth[0] if of == 1 else growth[0] / growth[1])


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    problem = cnn.build(
        num_workers=config.num_workers,
        dataset=data.load(config.dataset),
        batch_size=config.batch_size,
        channels=config.channels,
    )
    console.print("[bold]synchronous[/bold], for σ² and the loss")
    reference = record.kept(run_dir, "synchronous", partial(train, config, problem, None, run_dir))
    found = []
    for relaxation in relaxations.relaxations():
        if not config.rows or relaxation.name in config.rows:
            console.print(f"[bold]{relaxation.title}[/bold]")
            measured = record.kept(run_dir, relaxation.name, partial(train, config, problem, relaxation, run_dir))
            found.append(as_row(config, problem, relaxation, measured, reference))

    headings, lines = rows(found, reference)
    caption = "growth: of B, and of B / M, from the second to the last quarter of the run; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(found, config, run_dir / "points.csv")
    plot(found, config, in_points(reference["losses"], config), run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(found), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def train(config: Config, problem: base.Problem, relaxation: Relaxation | None, run_dir: Path) -> dict[str, np.ndarray]:
    """All seeds of one relaxation, or of synchronous SGD.

    Returns:
        {distances_sq, second_moments: [S, T, k], losses: [S, T]}, of synchronous SGD variances: [S, T], too.
    """
    if relaxation is None:
        algorithm = synchronous_sgd.build(problem.oracle, num_workers=config.num_workers, step_size=config.step_size)
    else:
        algorithm = relaxation.build(problem.oracle, num_workers=config.num_workers, step_size=config.step_size)
    num_active = config.num_workers if relaxation is None or not relaxation.is_single_step else 1
    measured = {
        "distances_sq": metrics.consistency_distance_sq(1),
        "second_moments": metrics.grad_second_moment(1),
        "losses": metrics.loss(1),
    }
    if relaxation is None:
        measured["variances"] = metrics.metric(variance, 1)
    result = run.run(
        algorithm,
        problem.init(jax.random.key(config.seed)),
        problem.data,
        num_steps=config.num_steps * config.num_workers // num_active,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_seeds,
        metrics=measured,
        run_dir=run_dir / "runs" / ("synchronous" if relaxation is None else relaxation.name),
    )
    return {name: np.asarray(result.history[name][1]) for name in measured}


def variance(moment: metrics.Moment) -> Array:
    """Σ_i ‖g^i - ḡ‖² / (n - 1), float[]: σ² of workers that are all at x."""
    grads = moment.info.grads
    mean = stacked.worker_mean(grads)
    return jnp.sum(stacked.distances_sq(grads, mean)) / (stacked.num_rows(grads) - 1)


def as_row(
    config: Config,
    problem: base.Problem,
    relaxation: Relaxation,
    measured: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
) -> Row:
    """What was measured, in units of α, with its bounds."""
    algorithm = relaxation.build(problem.oracle, num_workers=config.num_workers, step_size=config.step_size)
    params = jax.eval_shape(problem.init, jax.random.key(0))
    step_size = relaxation.step_size(config.step_size, config.num_workers)
    squares = in_points(measured["distances_sq"].mean(axis=2) / step_size**2, config)

    def declared(second_moment: float) -> float:
        bound = algorithm.consistency_bound(base.Constants(grad_second_moment=second_moment), params)
        return math.nan if bound is None else bound / step_size**2

    moments = measured["second_moments"].astype(np.float64)
    of_others = np.array([declared(largest_mean(np.delete(moments, seed, 0))) for seed in range(len(moments))])
    whole = declared(largest_mean(moments))
    by_variance = relaxation.bound_by_variance(
        base.Constants(grad_variance=largest_mean(reference["variances"])), algorithm
    )
    return Row(
        relaxation,
        squares,
        squares / of_others[:, None],
        None if math.isnan(whole) else math.sqrt(whole),
        None if by_variance is None else math.sqrt(by_variance) / step_size,
        paper_constant(relaxation, params, largest_mean(moments)),
        in_points(moments.mean(axis=2), config),
        in_points(measured["losses"], config),
    )


def largest_mean(values: np.ndarray) -> float:
    """The largest over steps (and workers) of the mean over seeds: [S, T, ...] -> float."""
    return float(np.mean(values, axis=0, dtype=np.float64).max())


def in_points(values: np.ndarray, config: Config) -> np.ndarray:
    """Means over equal stretches of steps: [S, T] -> [S, num_points]; what is left over at the end is left out."""
    values = np.asarray(values, np.float64)
    length = values.shape[1] // config.num_points
    return values[:, : length * config.num_points].reshape(len(values), config.num_points, length).mean(axis=2)


def paper_constant(relaxation: Relaxation, params: base.Params, second_moment: float) -> float | None:
    """B of the paper's table where the variant declares a smaller one: √d τ M, √((2 - γ) γ / (1 - γ)³) M."""
    given = relaxation.arguments()
    if "reads" in given:
        return math.sqrt(stacked.num_elements(params) * second_moment) * given["reads"].max_delay
    if given.get("error_feedback"):
        lost = compressors.residual_fraction(given["compressor"], params)
        if lost is not None:
            return math.sqrt((2 - lost) * lost / (1 - lost) ** 3 * second_moment)
    return None


def claims(found: list[Row]) -> tuple[Claim, ...]:
    """Bounded ones are below their bounds and grow no faster than M; the others do."""
    judged = []
    level = bands.simultaneous(sum(row.ratios.shape[1] for row in found if row.bound is not None))
    for row in found:
        name, growth = f"{row.relaxation.title}: growth of B / M", row.own_growth
        if row.relaxation.grows:
            expected = f"> {GROWTH} at the lower end"
            judged.append(Claim.of_band(name, expected, growth, holds=growth.low > GROWTH))
            continue
        judged.append(Claim.of_band(name, f"<= {GROWTH} at the lower end", growth, holds=growth.low <= GROWTH))
        if row.bound is not None:
            ratio = bands.of_root_mean(row.ratios, level)
            top = int(ratio.middle.argmax())
            ends = [float(end[top]) for end in ratio]
            name = f"{row.relaxation.title}: largest B_t / declared"
            judged.append(
                Claim.of_band(name, "<= 1 at the lower end, simultaneously", ends, holds=np.all(ratio.low <= 1))
            )
    return tuple(judged)


def rows(found: list[Row], reference: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    lines: list[tuple[str, ...]] = [
        (
            "synchronous",
            "0",
            "0",
            "–",
            "–",
            "–",
            "–",
            tables.with_band(bands.of_mean(last_quarter(reference["losses"]))),
        )
    ]
    for row in found:
        ratio = None if row.bound is None else float(np.sqrt(row.ratios.mean(axis=0).max()))
        lines.append(
            (
                row.relaxation.title,
                tables.with_band(bands.of_root_mean(row.squares.mean(axis=1))),
                "–" if row.bound is None else f"{row.bound:.3g}",
                "–" if row.bound_by_variance is None else f"{row.bound_by_variance:.3g}",
                "–" if ratio is None else f"{ratio:.2g}",
                tables.with_band(row.growth),
                tables.with_band(row.own_growth),
                tables.with_band(bands.of_mean(last_quarter(row.losses))),
            )
        )
    headings = (
        "",
        "B",
        "declared, M",
        "declared, σ",
        "largest B_t / declared",
        "growth of B",
        "of B / M",
        "loss, last quarter",
    )
    return headings, lines


def save_points(found: list[Row], config: Config, path: Path) -> None:
    """Every point of every curve."""
    headings = ("relaxation", "step", "B", "low", "high", "declared", "declared_by_variance", "paper", "M", "loss")
    lines = []
    for row in found:
        fixed = (row.bound, row.bound_by_variance, row.paper)
        moments, losses = np.sqrt(row.moments.mean(axis=0)), row.losses.mean(axis=0)
        columns = zip(steps(config), *bands.of_root_mean(row.squares), moments, losses, strict=True)
        for step, middle, low, high, moment, loss in columns:
            ends = map(float, (step, middle, low, high))
            lines.append((row.relaxation.name, *ends, *fixed, float(moment), float(loss)))
    tables.save_csv(path, headings, lines)


def steps(config: Config) -> np.ndarray:
    """The middle of each point's steps."""
    return (np.arange(config.num_points) + 0.5) * (config.num_steps // config.num_points)


def plot(found: list[Row], config: Config, reference: np.ndarray, path: Path) -> None:
    """A panel for each relaxation with B_t and its bounds; below, the loss that each has come to."""
    with figures.paper():
        num_rows = -(-len(found) // COLUMNS)
        low = 0.4 + 0.13 * len(found)
        figure, axes = figures.panels(
            num_rows + 1, COLUMNS, height=1.5 * num_rows + low + 0.4, height_ratios=(*(1.5,) * num_rows, low)
        )
        below = figures.merged(figure, axes[-1])
        panels = axes[:-1]
        for row, axis in zip(found, panels.flat, strict=False):
            color = figures.COLORS[1] if row.relaxation.grows else figures.COLORS[0]
            draw_row(axis, row, steps(config), color)
        for axis in panels.flat[len(found) :]:
            axis.axis("off")
        for axis in panels[-1]:
            axis.set_xlabel("step")
        for row_of_axes in panels:
            row_of_axes[0].set_ylabel("B")
        figures.legend(figure, panels, columns=5)
        draw_losses(below, found, reference)
        figures.save(figure, path)


def draw_row(axis: Axes, row: Row, positions: np.ndarray, color: str) -> None:
    """One panel."""
    label = "B without bound" if row.relaxation.grows else "B measured"
    figures.draw(axis, positions, bands.of_root_mean(row.squares), color=color, label=label)
    for value, style, name, shade in (
        (row.bound, "--", "declared, by M", "black"),
        (row.bound_by_variance, "-.", "declared, by σ, for small α", figures.COLORS[2]),
        (row.paper, ":", "paper's constant", figures.GREY),
    ):
        if value is not None:
            axis.axhline(value, color=shade, linestyle=style, label=name)
    axis.set(title=row.relaxation.title, yscale="log")
    axis.xaxis.set_major_locator(MaxNLocator(3))
    figures.plain_decades(axis)


def draw_losses(axis: Axes, found: list[Row], reference: np.ndarray) -> None:
    """The loss of the last quarter of the run, one line a relaxation; shaded is synchronous SGD."""
    goal = bands.of_mean(last_quarter(reference))
    axis.axvspan(float(goal.low), float(goal.high), color="black", alpha=0.12, linewidth=0)
    axis.axvline(float(goal.middle), color="black", linestyle="--")
    for place, row in enumerate(found):
        band = bands.of_mean(last_quarter(row.losses))
        color = figures.COLORS[1] if row.relaxation.grows else figures.COLORS[0]
        axis.plot([float(band.low), float(band.high)], [place, place], color=color)
        axis.plot(float(band.middle), place, color=color, marker="o")
        axis.text(
            0.01,
            place,
            row.relaxation.title,
            transform=axis.get_yaxis_transform(),
            va="center",
            color=color,
            fontsize=6.5,
        )
    low, high = axis.get_xlim()
    axis.set_yticks(range(len(found)), [""] * len(found))
    axis.set(xlim=(low - 0.32 * (high - low), high), ylim=(len(found) - 0.5, -0.5))
    axis.set_xlabel("training loss in the last quarter of the run; dashed and shaded: synchronous SGD")


def last_quarter(losses: np.ndarray) -> np.ndarray:
    """Means over the last quarter: [S, m] -> [S]."""
    return np.asarray(losses[:, -(losses.shape[1] // 4) :].mean(axis=1))
