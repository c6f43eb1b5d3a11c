"""Is the speed-up linear in the number of workers?

At a fixed step size α theory has the mean of ‖∇f(x_t)‖² over a run at most 2 (f(x_0) - f*) / (α T) + α²L²B² +
α L σ² / n: what n workers gain is a noise floor n times as low. Two problems, whose workers draw from one distribution,
are solved with n = 1, 2, 4, ... workers by synchronous SGD, by asynchronous SGD whose messages are late, without and
with stand-ins, and by a server that applies gradients one by one at α / n. Measured are

    floor      the mean of ‖∇f(x_t)‖² over the second half of the run
    whole run  the mean over all of it, the theorem's left side, for synchronous SGD

and the slope of log floor against log n, -1 for a linear speed-up. On the quadratic all floors are known exactly, and
near the minimum of the other problem nearly so (`noise_floors`): every claim is that the measured floor is the
predicted one. Late messages are also run with a quarter of α and four times the steps.

Answer (small: 1 to 32 workers, 16 seeds; 95 % bands). Yes, up to a factor that late messages cost once. On the
quadratic the slope is -0.992 [-1.000, -0.984] for synchronous SGD, the same for late messages with stand-ins, whose
errors cancel in the mean over workers, and -0.993 [-0.999, -0.986] for a server. Messages 8 steps late have -0.825
[-0.833, -0.817], and theory -0.833: a single worker is never late, of n workers' gradients a part of 1 - 1/n is, so n
floor(n) rises from 1 to 1.86 at n = 32 (theory 1.82, and 1.87 for n without end), and beyond that the speed-up is
linear again. The factor goes with α: at a quarter of it the slope is -0.964 [-0.974, -0.955], theory -0.964, and n
floor(n) rises to 1.14 (theory 1.14, 1.15 without end). With α falling as in the theorem it vanishes. The bound α²L²B²
of the theorem, B = τ M (n - 1) / n, has no 1/n: it allows for gradients that all err alike, and at the floor they do
not. On the logistic problem slopes are -0.979, -0.892 where messages are 8 steps late, -0.971 at α/4, within 0.03 of
those of its Hessian and noise at the minimum. Floors are within 2.3 % of the exact ones on the quadratic and within 7
% on the other. The theorem's bound on the whole run is at least 1.7 times the measured average on the one and 3.4
times on the other.
"""

from __future__ import annotations

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
from experiments import bands, figures, identical_workers, noise_floors, record, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band

QUESTION = (__doc__ or "").splitlines()[0]

PROBLEMS = ("quadratic", "logistic")
METHODS = (
    "synchronous",
    "2 steps late",
    "8 steps late",
    "8 steps late, stand-ins",
    "server, α/n",
    "8 steps late, α/4",
)
SMALLER = 4
"""By how much α is smaller in the last of them."""
MANY = 10**9
"""As good as workers without end."""
TOLERANCES = {"quadratic": 0.02, "logistic": 0.05}
"""How far a floor may be from its prediction beyond its band: half a run after its start is not yet stationary, and a
quadratic is not the whole of the other problem."""


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
    problems: tuple[str, ...] = PROBLEMS
    methods: tuple[str, ...] = METHODS
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        numbers_of_workers=(1, 4),
        num_steps=1000,
        num_seeds=5,
        problems=("quadratic",),
        methods=("synchronous", "8 steps late"),
    ),
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
    """[m]: the floor by `noise_floors`, exact on the quadratic."""
    predicted_loss: float
    """The predicted n floor(n) / floor(1) for n without end."""
    promised: np.ndarray
    """[m]: what theory has the average of synchronous SGD at most be."""

    @property
    def slope(self) -> Band:
        """Of log floor against log n."""
        return bands.of_slope(self.numbers, self.floors)

    @property
    def loss(self) -> Band:
        """N · floor(n) / floor(1) by n, [m]: 1 where the speed-up is linear."""
        scaled = self.floors * self.numbers
        each = [bands.of_positive(second_over_first, scaled[:, [0, index]]) for index in range(len(self.numbers))]
        return Band(*map(np.array, zip(*each, strict=True)))

    @property
    def predicted_losses(self) -> np.ndarray:
        """The same as predicted, [m]."""
        return np.asarray(self.predicted * self.numbers / (self.predicted[0] * self.numbers[0]))


def second_over_first(means: np.ndarray) -> float:
    """Of two numbers."""
    return float(means[1] / means[0])


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Runs all methods, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    curves = []
    for problem in config.problems:
        coordinates = coordinates_of(config, problem)
        for method in config.methods:
            console.print(f"[bold]{problem}[/bold], {method}")
            curves.append(measure(config, problem, method, coordinates, run_dir))

    headings, lines = rows(curves)
    caption = "slope of log floor in log n (-1: linear); n floor(n) / floor(1) (1: linear), ∞ predicted; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(curves, run_dir / "points.csv")
    plot(curves, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(curves), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def build_problem(config: Config, name: str, num_workers: int) -> base.Problem:
    """One of `PROBLEMS`."""
    if name == "quadratic":
        return quadratic.build(num_workers=num_workers, dim=config.dim, noise=config.noise, centre_spread=0.0)
    one = nonconvex_logistic.build(num_workers=1, dim=config.dim, batch_size=1, num_examples=config.num_examples)
    return identical_workers.shared(one, num_workers=num_workers)


def coordinates_of(config: Config, name: str) -> noise_floors.Coordinates:
    """Curvatures and noise of one of `PROBLEMS` at its minimum."""
    problem = build_problem(config, name, 1)
    return noise_floors.of_quadratic(problem) if name == "quadratic" else noise_floors.near_minimum(problem)


def divisor(method: str) -> int:
    """By how much α is smaller, and the run longer."""
    return SMALLER if method.endswith(f"α/{SMALLER}") else 1


def delay_of(method: str) -> int:
    """How late messages are, in steps."""
    return int(method.split()[0]) if method[0].isdigit() else 0


def build_method(name: str, oracle: Oracle, num_workers: int, step_size: float) -> Algorithm:
    """One of `METHODS`."""
    if name == "synchronous":
        return synchronous_sgd.build(oracle, num_workers=num_workers, step_size=step_size)
    if name == "server, α/n":
        clock = clocks.exponential()
        return parameter_server_sgd.build(
            oracle, num_workers=num_workers, step_size=step_size / num_workers, clock=clock
        )
    return asynchronous_sgd.build(
        oracle,
        num_workers=num_workers,
        step_size=step_size / divisor(name),
        delays=delays.constant(delay_of(name)),
        substitute=name.endswith("stand-ins"),
    )


def predict(coordinates: noise_floors.Coordinates, method: str, num_workers: int, step_size: float) -> float:
    """The floor of one of `METHODS`; stand-ins are right in the mean over workers."""
    if method.startswith("server"):
        return noise_floors.server(coordinates, num_workers=num_workers, step_size=step_size)
    delay = 0 if method.endswith("stand-ins") else delay_of(method)
    return noise_floors.late(coordinates, num_workers=num_workers, step_size=step_size / divisor(method), delay=delay)


def measure(config: Config, problem: str, method: str, coordinates: noise_floors.Coordinates, run_dir: Path) -> Curve:
    """One curve; what was measured before is read."""
    columns = []
    step_size = config.step_sizes[PROBLEMS.index(problem)]
    for num_workers in config.numbers_of_workers:
        built = build_problem(config, problem, num_workers)
        name = f"{problem}_{method}_{num_workers}".replace(" ", "_").replace("/", "_").replace(",", "")
        found = record.kept(run_dir, name, partial(grad_norms, config, built, method, step_size))
        constants = built.constants
        promised = 2 * (found["start"] - (constants.optimal_value or 0.0)) / (step_size * config.num_steps)
        promised += step_size * (constants.smoothness or 0.0) * (constants.grad_variance or 0.0) / num_workers
        predicted = predict(coordinates, method, num_workers, step_size)
        columns.append((found["floor"], found["average"], predicted, promised))
    floors, averages, predictions, promises = zip(*columns, strict=True)
    without_end = predict(coordinates, method, MANY, step_size) * MANY / predict(coordinates, method, 1, step_size)
    return Curve(
        problem,
        method,
        np.array(config.numbers_of_workers),
        np.stack(floors, axis=1),
        np.stack(averages, axis=1),
        np.array(predictions),
        without_end,
        np.array(promises),
    )


def grad_norms(config: Config, problem: base.Problem, method: str, step_size: float) -> dict[str, np.ndarray]:
    """One point: means of ‖∇f(x_t)‖², {floor float[S], average float[S], start float[]: f(x_0)}."""
    algorithm = build_method(method, problem.oracle, problem.num_workers, step_size)
    params = problem.init(jax.random.key(config.seed))
    # a server takes n steps for one of the others, so that all see as many gradients; smaller steps are more
    stretch = divisor(method) * problem.num_workers // base.num_active(algorithm, params, problem.data)
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
    """Floors and their slopes are the predicted ones, and the theorem bounds synchronous SGD's average."""
    found = []
    for curve in curves:
        name, tolerance = f"{curve.method}, {curve.problem}", TOLERANCES[curve.problem]
        ratio = bands.of_mean(curve.floors / curve.predicted, bands.simultaneous(len(curve.numbers)))
        worst = int(np.abs(ratio.middle - 1).argmax())
        ends = [float(end[worst]) for end in ratio]
        found.append(
            Claim.of_band(
                f"{name}: floor / predicted floor, farthest from 1",
                f"1, within {tolerance:g} of the simultaneous bands",
                ends,
                holds=np.all((ratio.low - tolerance <= 1) & (ratio.high + tolerance >= 1)),
            )
        )
        predicted = float(bands.slope(curve.numbers, curve.predicted))
        band = curve.slope
        found.append(
            Claim.of_band(
                f"{name}: slope of log floor in log n",
                f"{predicted:.3f} predicted, within {tolerance:g} of the band",
                band,
                holds=band.low - tolerance <= predicted <= band.high + tolerance,
            )
        )
        if curve.method == "synchronous":
            ratio = bands.of_mean(curve.averages / curve.promised, bands.simultaneous(len(curve.numbers)))
            top = int(ratio.middle.argmax())
            ends = [float(end[top]) for end in ratio]
            whole = f"{name}: largest mean over the run / theorem's bound"
            found.append(
                Claim.of_band(whole, "<= 1 at the lower end, simultaneously", ends, holds=np.all(ratio.low <= 1))
            )
    return tuple(found)


def rows(curves: list[Curve]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    numbers = curves[0].numbers
    headings = ("", "problem", "slope", "predicted", *(f"n = {number}" for number in numbers), "n = ∞, predicted")
    return headings, [
        (
            curve.method,
            curve.problem,
            tables.with_band(curve.slope),
            f"{float(bands.slope(curve.numbers, curve.predicted)):.3f}",
            *(f"{loss:.2f}" for loss in curve.loss.middle),
            f"{curve.predicted_loss:.2f}",
        )
        for curve in curves
    ]


def save_points(curves: list[Curve], path: Path) -> None:
    """Every point of every curve."""
    headings = ("problem", "method", "n", "floor", "low", "high", "predicted_floor", "whole_run", "theorem")
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
        figure, axes = figures.panels(2, len(config.problems), height=4.6)
        for column, problem in enumerate(config.problems):
            own = [curve for curve in curves if curve.problem == problem]
            draw_floors(axes[0, column], own)
            draw_losses(axes[1, column], own)
            axes[0, column].set_title(f"{problem}, α = {config.step_sizes[PROBLEMS.index(problem)]:g}")
        for axis in axes.flat:
            axis.set(xlabel="workers n", xscale="log")
            figures.plain_ticks(axis, config.numbers_of_workers)
        axes[0, 0].set_ylabel("mean of ‖∇f(x)‖²")
        axes[1, 0].set_ylabel("n floor(n) / floor(1)")
        figures.legend(figure, axes, columns=4)
        figures.save(figure, path)


def draw_floors(axis: Axes, curves: list[Curve]) -> None:
    """The floors of all methods on one problem, and the whole run of synchronous SGD."""
    for number, curve in enumerate(curves):
        color, marker = figures.COLORS[number], figures.MARKERS[number]
        figures.draw(axis, curve.numbers, bands.of_mean(curve.floors), color=color, marker=marker, label=curve.method)
    whole = curves[0]
    linear = whole.floors[:, 0].mean() / whole.numbers
    axis.plot(whole.numbers, linear, color="black", linestyle="--", label="linear speed-up")
    axis.plot(whole.numbers, whole.averages.mean(axis=0), color=figures.GREY, label="whole run, synchronous")
    axis.plot(whole.numbers, whole.promised, color=figures.GREY, linestyle=":", label="its bound by theory")
    axis.set(xscale="log", yscale="log")
    figures.plain_decades(axis)


def draw_losses(axis: Axes, curves: list[Curve]) -> None:
    """What the speed-up lacks, as measured and as predicted."""
    axis.axhline(1.0, color="black", linestyle="--")
    for number, curve in enumerate(curves):
        color, marker = figures.COLORS[number], figures.MARKERS[number]
        figures.draw(axis, curve.numbers, curve.loss, color=color, marker=marker, linestyle="none")
        axis.plot(curve.numbers, curve.predicted_losses, color=color, linewidth=0.8)
    axis.plot([], [], color=figures.GREY, linewidth=0.8, label="thin: predicted")
