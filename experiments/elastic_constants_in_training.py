"""How elastic is each relaxation during training?

A convolutional network learns CIFAR-10 under every relaxation of the paper's table, and under two that lose gradients
for ever, with the same parameters at the start, as many gradients and several seeds. At every step

    B_t² = mean_i E‖x_t - v_t^i‖² / α²,    E the mean over seeds

is set against what the variant declares. Its M² is measured on *other* seeds: for the bound of one seed, the largest
over steps and workers of the mean of ‖g‖² over the others. σ² likewise, from the gradients that workers of a
synchronous run take at one x. Bounds by σ hold for step sizes small enough against L, which nobody knows for a
network: they are drawn as the theory has them, granted that. What compression without memory loses is measured
against the sequence that applies all gradients in full.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.axes import Axes

from elastic_jax import base, compressors, data, metrics, run, stacked
from elastic_jax.algorithms import synchronous_sgd
from elastic_jax.console import page
from elastic_jax.problems import cnn
from experiments import bands, figures, record, relaxations, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.relaxations import Relaxation

QUESTION = (__doc__ or "").splitlines()[0]


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
        rows=("late", "drops", "lost"),
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
    losses: np.ndarray
    """[S, m]."""

    @property
    def growth(self) -> Band:
        """B of the last quarter over that of the second."""
        quarter = self.squares.shape[1] // 4
        sums = np.stack([self.squares[:, quarter : 2 * quarter].mean(axis=1), self.squares[:, -quarter:].mean(axis=1)])
        # the slope between two points whose logarithms are 1 apart is the logarithm of a ratio
        slope = bands.of_slope(np.array([1.0, math.e]), sums.T)
        return Band(*(np.exp(end / 2) for end in slope))


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains, shows the table, writes points, figure and answer into `run_dir`."""
    start = time.perf_counter()
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
    caption = "growth: B of the last quarter of the run over the second; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(found, config, run_dir / "points.csv")
    plot(found, config, in_points(reference["losses"], config), run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(found), time.perf_counter() - start)
    answer.save(run_dir)
    for claim in answer.claims:
        console.print(claim.line)
    console.print(f"{QUESTION}\nTable, points, figure and answer are in {run_dir} ({answer.seconds:.0f} s)")
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
    """Bounded ones are below their bounds and do not grow; the others do."""
    judged = []
    for row in found:
        title, growth = row.relaxation.title, [float(end) for end in row.growth]
        if row.relaxation.grows:
            judged.append(Claim.of_band(f"{title}: growth of B", "> 1.25", growth, holds=growth[1] > 1.25))
            continue
        judged.append(Claim.of_band(f"{title}: growth of B", "<= 1.25", growth, holds=growth[1] <= 1.25))
        if row.bound is not None:
            ratio = bands.of_root_mean(row.ratios)
            top = int(ratio.middle.argmax())
            ends = [float(end[top]) for end in ratio]
            judged.append(Claim.of_band(f"{title}: largest B_t / declared", "<= 1", ends, holds=ends[0] <= 1))
    return tuple(judged)


def rows(found: list[Row], reference: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    quarter = reference["losses"].shape[1] // 4
    lines: list[tuple[str, ...]] = [
        (
            "synchronous",
            "0",
            "0",
            "–",
            "–",
            "–",
            tables.with_band(bands.of_mean(reference["losses"][:, -quarter:].mean(1))),
        )
    ]
    for row in found:
        quarter = row.losses.shape[1] // 4
        ratio = None if row.bound is None else float(np.sqrt(row.ratios.mean(axis=0).max()))
        lines.append(
            (
                row.relaxation.title,
                tables.with_band(bands.of_root_mean(row.squares.mean(axis=1))),
                "–" if row.bound is None else f"{row.bound:.3g}",
                "–" if row.bound_by_variance is None else f"{row.bound_by_variance:.3g}",
                "–" if ratio is None else f"{ratio:.2g}",
                tables.with_band(row.growth),
                tables.with_band(bands.of_mean(row.losses[:, -quarter:].mean(axis=1))),
            )
        )
    return ("", "B", "declared, M", "declared, σ", "largest B_t / declared", "growth", "loss, last quarter"), lines


def save_points(found: list[Row], config: Config, path: Path) -> None:
    """Every point of every curve."""
    headings = ("relaxation", "step", "B", "low", "high", "declared", "declared_by_variance", "paper", "loss")
    lines = []
    for row in found:
        fixed = (row.bound, row.bound_by_variance, row.paper)
        columns = zip(*bands.of_root_mean(row.squares), row.losses.mean(axis=0), strict=True)
        for step, (middle, low, high, loss) in zip(steps(config), columns, strict=True):
            lines.append(
                (row.relaxation.name, float(step), float(middle), float(low), float(high), *fixed, float(loss))
            )
    tables.save_csv(path, headings, lines)


def steps(config: Config) -> np.ndarray:
    """The middle of each point's steps."""
    return (np.arange(config.num_points) + 0.5) * (config.num_steps // config.num_points)


def plot(found: list[Row], config: Config, reference: np.ndarray, path: Path) -> None:
    """A panel for each relaxation with B_t and its bounds, and one with the losses."""
    with figures.paper():
        figure, axes = figures.panels(-(-(len(found) + 1) // 4), 4, height=1.55 * -(-(len(found) + 1) // 4) + 0.3)
        loss_axis = axes.flat[len(found)]
        loss_axis.plot(steps(config), reference.mean(axis=0), color="black", linestyle="--")
        for row, axis in zip(found, axes.flat, strict=False):
            color = figures.COLORS[1] if row.relaxation.grows else figures.COLORS[0]
            draw_row(axis, row, steps(config), color)
            loss_axis.plot(steps(config), row.losses.mean(axis=0), color=color, linewidth=0.7)
        loss_axis.set(title="training loss, all", xlabel="step")
        for axis in axes[-1]:
            axis.set_xlabel("step")
        for row_of_axes in axes:
            row_of_axes[0].set_ylabel("B")
        for axis in axes.flat[len(found) + 1 :]:
            axis.axis("off")
        named: dict[str, Any] = {}
        for axis in axes.flat[: len(found)]:
            handles, labels = axis.get_legend_handles_labels()
            named |= dict(zip(labels, handles, strict=True))
        figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=len(named))
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
