"""What does each family of distributed SGD cost, and how far do its views stray from the global parameters?

A small convolutional network learns scikit-learn's 8x8 digits with n workers under one representative of each family
(`is_complete`: under every registered variant), from the same initial parameters, with the same number of
gradients and over several seeds. A representative that can compress its messages is shown with compression and
error feedback, too.

The step size is given per gradient: a method that applies k gradients in a step takes α k / n, so that all curves have
the same horizontal axis. M², the second moment of the gradients, is measured on the run (the largest over steps and
workers of its mean over seeds) and put into the bound that each variant declares; the measured constant is
B = max_t max_i (mean over seeds of ‖x_t - v_t^i‖²)^½ / α.
"""

from __future__ import annotations

import csv
import inspect
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import matplotlib
import numpy as np
from rich.table import Table

from elastic_jax import algorithms, base, compressors, metrics, problems, run
from elastic_jax.console import page
from experiments.answer import Answer, Claim

QUESTION = (__doc__ or "").splitlines()[0]


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    num_workers: int = 8
    num_gradients: int = 4800
    """Gradients of one run, over all workers."""
    step_size: float = 0.2
    """α of a step in which all workers take part."""
    batch_size: int = 16
    num_seeds: int = 3
    kept_fraction: float = 0.05
    """What top-k keeps in the compressed rows."""
    num_evaluations: int = 40
    """Points of a curve."""
    accuracy_goal: float = 0.9
    seed: int = 0
    is_complete: bool = False
    """Every registered variant instead of one for each family."""


SIZES: Mapping[str, Config] = {
    "smoke": Config(num_gradients=640, num_seeds=2, num_evaluations=5, accuracy_goal=0.3),
    "small": Config(),
    "paper": Config(num_workers=32, num_gradients=96_000, num_seeds=10, num_evaluations=100),
}


class Row(NamedTuple):
    """One line of the table: what was run, and what came of it. Arrays have the seeds first."""

    label: str
    num_active: int
    step_size: float
    steps: np.ndarray
    losses: np.ndarray
    bits: np.ndarray
    num_bits: float
    distance_steps: np.ndarray
    distances: np.ndarray
    bounds: np.ndarray | None
    accuracies: np.ndarray
    staleness: float
    second_moment: float

    @property
    def constant(self) -> float:
        """Measured B, gradient units."""
        return float(self.distances.max()) / self.step_size

    @property
    def bound(self) -> float | None:
        """Promised B, gradient units; None where nothing is promised."""
        return None if self.bounds is None else float(self.bounds.max()) / self.step_size


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains, shows the table, writes config, metrics, figure and answer into `run_dir`."""
    start = time.perf_counter()
    console = page()
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.json").write_text(json.dumps({"size": size, **asdict(config)}, indent=2) + "\n")

    problem = problems.problem("cnn").build(num_workers=config.num_workers, batch_size=config.batch_size)
    rows = []
    for label, module, bound in settings(config):
        console.print(f"[bold]{label}[/bold]")
        rows.append(train(config, problem, label, module, bound))

    console.print(as_table(rows, config))
    (run_dir / "table.md").write_text(as_markdown(rows), encoding="utf-8")
    save_metrics(rows, run_dir / "metrics.csv")
    plot(rows, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(rows, config), time.perf_counter() - start)
    answer.save(run_dir)
    answer.tell(console, run_dir, data="curves")
    return answer


def settings(config: Config) -> list[tuple[str, ModuleType, dict[str, Any]]]:
    """(label, variant, its arguments) of every row."""
    chosen: list[tuple[str, ModuleType, dict[str, Any]]] = []
    for members in algorithms.families().values():
        for name, module in list(members.items())[: None if config.is_complete else 1]:
            chosen.append((name, module, {}))
            if {"compressor", "error_feedback"} <= set(inspect.signature(module.build).parameters):
                compressed = {"compressor": compressors.top_k(config.kept_fraction), "error_feedback": True}
                chosen.append((f"{name}, top {config.kept_fraction:.0%} with memory", module, compressed))
    return chosen


def train(config: Config, problem: base.Problem, label: str, module: ModuleType, bound: dict[str, Any]) -> Row:
    """One row: all seeds of one setting."""
    params = problem.init(jax.random.key(config.seed))
    num_active = base.num_active(
        module.build(problem.oracle, num_workers=config.num_workers, **bound), params, problem.data
    )
    step_size = config.step_size * num_active / config.num_workers
    num_steps = config.num_gradients // num_active
    every = max(1, num_steps // config.num_evaluations)
    algorithm = module.build(problem.oracle, num_workers=config.num_workers, step_size=step_size, **bound)
    result = run.run(
        algorithm,
        params,
        problem.data,
        num_steps=num_steps,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_seeds,
        metrics={
            "objective": metrics.objective(problem, every),
            "bits": metrics.bits_sent(1),
            "distance_sq": metrics.consistency_distance_sq(1),
            "second_moment": metrics.grad_second_moment(1),
            "staleness": metrics.staleness(1),
        },
    )
    history = result.history
    steps, losses = history["objective"]
    distance_steps, distances_sq = history["distance_sq"]
    second_moment = float(np.mean(history["second_moment"][1], axis=0).max())
    promised = algorithm.consistency_bound(base.Constants(grad_second_moment=second_moment), params)
    bits = history["bits"][1].sum(-1, dtype=np.float64)
    bits_before = np.cumsum(bits, axis=1) - bits  # what led to x_t, at which the loss of step t is taken
    accuracies = [
        float(problem.evaluate(jax.tree.map(lambda leaf, s=seed: leaf[s], result.params))["test_accuracy"])
        for seed in range(config.num_seeds)
    ]
    return Row(
        label=label,
        num_active=num_active,
        step_size=step_size,
        steps=np.asarray(steps),
        losses=np.asarray(losses),
        bits=bits_before[:, np.asarray(steps)],
        num_bits=float(bits.sum(axis=1).mean()),
        distance_steps=np.asarray(distance_steps),
        distances=np.sqrt(np.mean(distances_sq, axis=0).max(-1)),
        bounds=None if promised is None else np.full(len(distance_steps), math.sqrt(promised)),
        accuracies=np.asarray(accuracies),
        staleness=float(np.mean(history["staleness"][1])),
        second_moment=second_moment,
    )


def claims(rows: list[Row], config: Config) -> tuple[Claim, ...]:
    """The claims and their verdicts."""
    found = []
    for row in rows:
        accuracy = row.accuracies.mean()
        found.append(
            Claim(
                f"{row.label}: test accuracy",
                f">= {config.accuracy_goal}",
                float(accuracy),
                float(row.accuracies.min()),
                float(row.accuracies.max()),
                bool(accuracy >= config.accuracy_goal),
            )
        )
        if row.bounds is not None:
            ratio = np.divide(row.distances, row.bounds, out=np.zeros_like(row.distances), where=row.bounds > 0)
            is_below = bool(np.all(row.distances <= row.bounds + 1e-6 * row.distances.max(initial=0.0)))
            found.append(
                Claim(
                    f"{row.label}: measured distance / promised bound, at every step",
                    "<= 1",
                    float(ratio.max()),
                    float(ratio.min()),
                    float(ratio.max()),
                    is_below,
                )
            )
    return tuple(found)


HEADINGS = ("", "accuracy", "steps", "gradients", "Mbit", "staleness", "B", "B promised")


def as_table(rows: list[Row], config: Config) -> Table:
    """The table that people read."""
    table = Table(
        title=f"{config.num_workers} workers, {config.num_seeds} seeds, {config.num_gradients} gradients each",
        caption="B: E‖x − v‖² ≤ α²B², measured (largest over steps and workers) and promised; staleness in steps",
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for row in rows:
        table.add_row(*cells(row))
    return table


def as_markdown(rows: list[Row]) -> str:
    """The same table in Markdown."""
    lines = [HEADINGS, ["---"] + ["---:"] * (len(HEADINGS) - 1), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(row: Row) -> list[str]:
    """One line of the table, under `HEADINGS`."""
    num_steps = len(row.distance_steps)
    return [
        row.label,
        f"{row.accuracies.mean():.1%} ± {row.accuracies.std():.1%}",
        str(num_steps),
        str(num_steps * row.num_active),
        f"{row.num_bits / 1e6:.1f}",
        f"{row.staleness:.2f}",
        f"{row.constant:.3g}",
        "–" if row.bound is None else f"{row.bound:.3g}",
    ]


def save_metrics(rows: list[Row], path: Path) -> None:
    """Every point of every curve, one a line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "seed", "step", "gradients", "bits", "objective"])
        for row in rows:
            for seed in range(len(row.losses)):
                for step, bits, loss in zip(row.steps, row.bits[seed], row.losses[seed], strict=True):
                    writer.writerow([row.label, seed, int(step), int(step) * row.num_active, int(bits), float(loss)])
    with path.with_name("distances.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "step", "root_mean_square_distance", "promised"])
        for row in rows:
            promised = np.full(len(row.distance_steps), np.nan) if row.bounds is None else row.bounds
            for step, distance, bound in zip(row.distance_steps, row.distances, promised, strict=True):
                writer.writerow([row.label, int(step), float(distance), float(bound)])


def plot(rows: list[Row], config: Config, path: Path) -> None:
    """Loss against gradients and against bits; ‖x - v‖ against steps, with what is promised."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # after the backend is chosen

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), constrained_layout=True)
    for index, row in enumerate(rows):
        color = f"C{index}"
        sent = row.bits[0] / 1e6
        for axis, points, shown in ((axes[0], row.steps * row.num_active, sent >= 0), (axes[1], sent, sent > 0)):
            low, high, middle = (function(row.losses[:, shown], axis=0) for function in (np.min, np.max, np.mean))
            axis.plot(points[shown], middle, color=color, label=row.label)
            axis.fill_between(points[shown], low, high, color=color, alpha=0.15, linewidth=0)
        if row.distances.max() > 0:
            windows = np.array_split(np.arange(len(row.distances)), config.num_evaluations)
            largest = [row.distances[window].max() / row.step_size for window in windows]
            axes[2].plot([row.distance_steps[window[-1]] for window in windows], largest, color=color)
            if row.bounds is not None:
                axes[2].plot(row.distance_steps, row.bounds / row.step_size, color=color, linestyle="--")
    axes[0].set(xlabel="gradients", ylabel="training loss f(x)", yscale="log", title="loss against gradients")
    axes[1].set(xlabel="Mbit sent by all workers", xscale="log", yscale="log", title="loss against communication")
    axes[2].set(
        xlabel="steps",
        ylabel="largest ‖x − v‖ / α in a window",
        yscale="log",
        title="consistency: measured, and promised (dashed)",
    )
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.suptitle(f"CNN on digits, {config.num_workers} workers, {config.num_seeds} seeds (mean, and range shaded)")
    figure.savefig(path, dpi=130)
    plt.close(figure)
