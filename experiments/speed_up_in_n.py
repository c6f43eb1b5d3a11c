"""Is the speed-up linear in the number of workers?

At a fixed step size α theory has the mean of ‖∇f(x_t)‖² over a run at most 2 (f(x_0) - f*) / (α T) + α²L²B² +
α L σ² / n: what n workers gain is a noise floor n times as low. Two problems, whose workers draw from one distribution,
are solved with n = 1, 2, 4, ... workers by synchronous SGD, by asynchronous SGD whose messages are late, without and
with stand-ins, and by a server that applies gradients one by one at α / n. Measured are

    floor      the mean of ‖∇f(x_t)‖² over the second half of the run
    whole run  the mean over all of it, the theorem's left side, for synchronous SGD

and the slope of log floor against log n, -1 for a linear speed-up. For synchronous SGD on the quadratic the floor is
known exactly: α σ² / n · mean_k a_k / (2 - α a_k), a_k the curvatures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, clocks, delays, metrics, run
from elastic_jax.algorithms import asynchronous_sgd, parameter_server_sgd, synchronous_sgd
from elastic_jax.base import Algorithm, Oracle
from elastic_jax.console import page
from elastic_jax.problems import nonconvex_logistic, quadratic
from experiments import bands, figures, identical_workers, record, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band

QUESTION = (__doc__ or "").splitlines()[0]

PROBLEMS = ("quadratic", "logistic")
METHODS = ("synchronous", "2 steps late", "8 steps late", "8 steps late, stand-ins", "server, α/n")


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    numbers_of_workers: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    dim: int = 20
    noise: float = 3.0
    """σ of the quadratic, whose curvatures lie between 0.1 and 1."""
    num_examples: int = 256
    """Of the logistic problem; a gradient is that of one example."""
    step_sizes: tuple[float, float] = (0.1, 0.2)
    """α on the quadratic and on the logistic problem."""
    num_steps: int = 2000
    num_seeds: int = 16
    every: int = 5
    """Steps between two gradients ∇f(x_t) that enter the means."""
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(numbers_of_workers=(1, 4), num_steps=100, num_seeds=5),
    "small": Config(),
    "paper": Config(numbers_of_workers=(1, 2, 4, 8, 16, 32, 64, 128), num_steps=20_000, num_seeds=64),
}


class Curve(NamedTuple):
    """One method on one problem."""

    problem: str
    method: str
    numbers: np.ndarray
    """[m]: n."""
    floors: np.ndarray
    """[S, m], gradient units squared."""
    averages: np.ndarray
    """[S, m], gradient units squared: over the whole run."""
    predicted: np.ndarray
    """[m]: the exact floor; NaN where it is not known."""
    promised: np.ndarray
    """[m]: what theory has the average of synchronous SGD at most be."""

    @property
    def slope(self) -> Band:
        """Of log floor against log n."""
        return bands.of_slope(self.numbers, self.floors)

    @property
    def cost(self) -> Band:
        """N · floor(n) / floor(1) by n, [m]: 1 where the speed-up is linear."""
        scaled = self.floors * self.numbers
        return Band(*(end / scaled[:, 0].mean() for end in bands.of_mean(scaled)))


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Runs all methods, shows the table, writes points, figure and answer into `run_dir`."""
    start = time.perf_counter()
    console = page()
    record.open_folder(run_dir, config, size=size)
    curves = []
    for problem in PROBLEMS:
        for method in METHODS:
            console.print(f"[bold]{problem}[/bold], {method}")
            curves.append(measure(config, problem, method, run_dir))

    headings, lines = rows(curves)
    caption = "slope of log floor in log n (-1: linear); n floor(n) / floor(1) (1: linear); 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(curves, run_dir / "points.csv")
    plot(curves, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(curves), time.perf_counter() - start)
    answer.save(run_dir)
    for claim in answer.claims:
        console.print(claim.line)
    console.print(f"{QUESTION}\nTable, points, figure and answer are in {run_dir} ({answer.seconds:.0f} s)")
    return answer


def build_problem(config: Config, name: str, num_workers: int) -> base.Problem:
    """One of `PROBLEMS`."""
    if name == "quadratic":
        return quadratic.build(num_workers=num_workers, dim=config.dim, noise=config.noise, centre_spread=0.0)
    one = nonconvex_logistic.build(num_workers=1, dim=config.dim, batch_size=1, num_examples=config.num_examples)
    return identical_workers.shared(one, num_workers=num_workers)


def build_method(name: str, oracle: Oracle, num_workers: int, step_size: float) -> Algorithm:
    """One of `METHODS`."""
    if name == "synchronous":
        return synchronous_sgd.build(oracle, num_workers=num_workers, step_size=step_size)
    if name == "server, α/n":
        clock = clocks.exponential()
        return parameter_server_sgd.build(
            oracle, num_workers=num_workers, step_size=step_size / num_workers, clock=clock
        )
    late = delays.constant(int(name.split()[0]))
    substitute = name.endswith("stand-ins")
    return asynchronous_sgd.build(
        oracle, num_workers=num_workers, step_size=step_size, delays=late, substitute=substitute
    )


def measure(config: Config, problem: str, method: str, run_dir: Path) -> Curve:
    """One curve; what was measured before is read."""
    columns = []
    step_size = config.step_sizes[PROBLEMS.index(problem)]
    for num_workers in config.numbers_of_workers:
        built = build_problem(config, problem, num_workers)
        name = f"{problem}_{method}_{num_workers}".replace(" ", "_").replace("/", "_").replace(",", "")
        found = record.kept(run_dir, name, partial(grad_norms, config, built, method, step_size))
        predicted = math.nan
        if problem == "quadratic" and method == "synchronous":
            curvatures = np.asarray(built.data["curvatures"][0], np.float64)
            predicted = float(np.mean(curvatures / (2 - step_size * curvatures)))
            predicted *= step_size * config.noise**2 / num_workers
        constants = built.constants
        promised = 2 * (found["start"] - (constants.optimal_value or 0.0)) / (step_size * config.num_steps)
        promised += step_size * (constants.smoothness or 0.0) * (constants.grad_variance or 0.0) / num_workers
        columns.append((found["floor"], found["average"], predicted, promised))
    floors, averages, predictions, promises = zip(*columns, strict=True)
    return Curve(
        problem,
        method,
        np.array(config.numbers_of_workers),
        np.stack(floors, axis=1),
        np.stack(averages, axis=1),
        np.array(predictions),
        np.array(promises),
    )


def grad_norms(config: Config, problem: base.Problem, method: str, step_size: float) -> dict[str, np.ndarray]:
    """One point: means of ‖∇f(x_t)‖², {floor float[S], average float[S], start float[]: f(x_0)}."""
    algorithm = build_method(method, problem.oracle, problem.num_workers, step_size)
    params = problem.init(jax.random.key(config.seed))
    # a server takes n steps for one of the others, so that all see as many gradients
    stretch = problem.num_workers // base.num_active(algorithm, params, problem.data)
    result = run.run(
        algorithm,
        params,
        problem.data,
        num_steps=config.num_steps * stretch,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_seeds,
        metrics={"grad_norm_sq": metrics.grad_norm_sq(problem, config.every * stretch)},
        check="every_step",  # one program less to compile, and these steps cost nothing
    )
    norms = result.history["grad_norm_sq"][1].astype(np.float64)[:, : config.num_steps // config.every]
    return {
        "floor": norms[:, norms.shape[1] // 2 :].mean(axis=1),
        "average": norms.mean(axis=1),
        "start": np.asarray(problem.objective(params, problem.data), np.float64),
    }


def claims(curves: list[Curve]) -> tuple[Claim, ...]:
    """Floors fall like 1/n, synchronous SGD's as predicted, and the theorem bounds its average."""
    found = []
    for curve in curves:
        name = f"{curve.method}, {curve.problem}"
        middle, low, high = (float(end) for end in curve.slope)
        is_near = low <= -1 <= high or abs(middle + 1) <= 0.05
        found.append(Claim(f"{name}: slope of log floor in log n", "-1", middle, low, high, is_near))
        if curve.method != "synchronous":
            continue
        ratio = bands.of_mean(curve.averages / curve.promised)
        top = int(ratio.middle.argmax())
        ends = [float(end[top]) for end in ratio]
        found.append(
            Claim.of_band(f"{name}: largest mean over the run / theorem's bound", "<= 1", ends, holds=ends[1] <= 1)
        )
        if np.isfinite(curve.predicted).all():
            ratio = bands.of_mean(curve.floors / curve.predicted)
            worst = int(np.abs(ratio.middle - 1).argmax())
            ends = [float(end[worst]) for end in ratio]
            is_right = abs(ends[0] - 1) <= 0.05 or ends[1] <= 1 <= ends[2]
            found.append(Claim.of_band(f"{name}: floor / exact floor, farthest from 1", "1", ends, holds=is_right))
    return tuple(found)


def rows(curves: list[Curve]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    numbers = curves[0].numbers
    headings = ("", "problem", "slope", *(f"n = {number}" for number in numbers))
    return headings, [
        (curve.method, curve.problem, tables.with_band(curve.slope), *(f"{cost:.2f}" for cost in curve.cost.middle))
        for curve in curves
    ]


def save_points(curves: list[Curve], path: Path) -> None:
    """Every point of every curve."""
    headings = ("problem", "method", "n", "floor", "low", "high", "exact_floor", "whole_run", "theorem")
    lines = []
    for curve in curves:
        floor = bands.of_mean(curve.floors)
        columns = (*floor, curve.predicted, curve.averages.mean(axis=0), curve.promised)
        lines += [
            (curve.problem, curve.method, int(number), *map(float, point))
            for number, *point in zip(curve.numbers, *columns, strict=True)
        ]
    tables.save_csv(path, headings, lines)


def plot(curves: list[Curve], config: Config, path: Path) -> None:
    """Floors of both problems against n, and what of the speed-up is lost."""
    with figures.paper():
        figure, axes = figures.panels(1, 4, height=2.3, width_ratios=(1, 1, 1, 1))
        for index, problem in enumerate(PROBLEMS):
            own = [curve for curve in curves if curve.problem == problem]
            draw_floors(axes[0, 2 * index], own)
            axes[0, 2 * index].set(title=f"{problem}, α = {config.step_sizes[index]:g}")
            for number, curve in enumerate(own):
                figures.draw(
                    axes[0, 2 * index + 1],
                    curve.numbers,
                    curve.cost,
                    color=figures.COLORS[number],
                    marker=figures.MARKERS[number],
                )
            axes[0, 2 * index + 1].axhline(1.0, color="black", linestyle="--")
            axes[0, 2 * index + 1].set(title="n floor(n) / floor(1)", xscale="log")
        for axis in axes.flat:
            axis.set_xlabel("n")
            figures.plain_ticks(axis, config.numbers_of_workers)
        axes[0, 0].set_ylabel("mean of ‖∇f(x)‖²")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        figures.save(figure, path)


def draw_floors(axis: Axes, curves: list[Curve]) -> None:
    """The floors of all methods on one problem, and the whole run of synchronous SGD."""
    for number, curve in enumerate(curves):
        figures.draw(
            axis,
            curve.numbers,
            bands.of_mean(curve.floors),
            color=figures.COLORS[number],
            marker=figures.MARKERS[number],
            label=curve.method,
        )
    whole = curves[0]
    axis.plot(
        whole.numbers,
        whole.floors[:, 0].mean() / whole.numbers,
        color="black",
        linestyle="--",
        label="linear speed-up",
    )
    axis.plot(whole.numbers, whole.averages.mean(axis=0), color=figures.GREY, label="whole run, synchronous")
    axis.plot(whole.numbers, whole.promised, color=figures.GREY, linestyle=":", label="its bound by theory")
    axis.set(xscale="log", yscale="log")
