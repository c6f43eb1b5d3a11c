"""How does B scale with delays, faults, compression, the number of workers and the step size?

Every relaxation of the theory's table is run under growing strength (the sweeps of `scaling_laws`), with many seeds, on
three problems whose constants are certified and whose workers draw from one distribution: linear functions with equal
gradients, for which bounds by M are attained where a bound can be; pure gaussian noise; and logistic regression with a
non-convex term. The measured constant is

    B² = max_i mean_t E‖x_t - v_t^i‖² / α²,    t in the second half of the run,    E the mean over seeds

and is compared with what the variant declares for the problem's constants. Its exponent is the slope of log B against
the logarithm of the declared law, so that 1 is the law itself. The last panel has the slope of E‖x - v‖² against α, in
runs of one length α T.

A bound in expectation is broken only where a mean over seeds is above it by more than the seeds explain. Of hundreds
of means, of which the largest are picked, some are above a bound that is attained: so all bands that judge bounds hold
together with 95 % (Bonferroni over sweeps, values, problems and workers).

Answer (small: 8 workers, 50 dimensions, 32 seeds; 95 % bands). With equal gradients B is linear in what the bounds are
linear in, and attains them: exponents of 1.00 and measured / declared of 1.00 in τ of late messages, n of a server, f
of crashes and f of lost messages; 1.00 [0.97, 1.03] and 1.04 [0.96, 1.12] in the law of dropped messages, whose bound
is the exact expectation. Independent gradients cancel: on pure noise B grows with the square root (0.50 in τ and n,
0.51 in f), which bounds by M cannot know. Reads of shared memory with ages from 0 to τ reach 0.71 of τ M at τ = 1,
0.60 at τ = 8; the paper's √d τ M is 7 times τ M here. Error feedback stays at 0.29 of b(γ) M or below, with the
exponent of b(γ), 0.995; the terms of b(γ) in the laws that combine it with delays are as loose, so that B grows faster
than these (1.51, 1.68). A scheduler bounded by norms uses 0.99 of β M; one bounded by variance 0.62 of 1.5 σ (n - 1) /
n. On logistic regression B is 0.06 to 0.42 of what is declared. E‖x - v‖² goes with α to the power of 2.02 to 2.05.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from matplotlib.axes import Axes

from elastic_jax import base, metrics, run, stacked
from elastic_jax.console import page
from elastic_jax.problems import nonconvex_logistic
from experiments import bands, figures, identical_workers, record, scaling_laws, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.scaling_laws import Sweep

QUESTION = (__doc__ or "").splitlines()[0]

PROBLEMS = ("equal gradients", "noise", "logistic")
COLUMNS = 4
"""Of panels."""
STEP_SIZE_SWEEPS = ("messages", "shared_memory", "memory")
ROUNDING = 1e-4
"""Of float32, where equal gradients attain a bound in every seed and the band has no width."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    num_workers: int = 8
    dim: int = 50
    batch_size: int = 8
    """Of the logistic problem."""
    num_examples: int = 256
    step_size: float = 0.01
    num_steps: int = 200
    num_seeds: int = 32
    num_values: int = 4
    """Values of each sweep, the first ones."""
    sweeps: tuple[str, ...] = ()
    """Names of sweeps; () means all."""
    step_sizes: tuple[float, ...] = (0.1, 0.05, 0.025, 0.0125)
    """Of the last panel, run for α T = num_steps · step_size."""
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(num_steps=40, num_seeds=5, num_values=2, step_sizes=(0.1, 0.05), sweeps=("messages", "drops")),
    "small": Config(),
    "paper": Config(num_steps=2000, num_seeds=512, num_values=6, step_sizes=(0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625)),
}


class Curve(NamedTuple):
    """One sweep on one problem."""

    sweep: Sweep
    problem: str
    values: np.ndarray
    """[m], of the parameter."""
    squares: np.ndarray
    """[S, m]: mean_t ‖x_t - v_t^i‖² / (α² M²) of the worker i with the largest mean."""
    declared: np.ndarray
    """[m]: B / M as declared; NaN where nothing is."""
    paper: np.ndarray
    """[m]: the paper's constant over M where it is another one; else NaN."""

    @property
    def measured(self) -> Band:
        """B / M, [m]."""
        return bands.of_root_mean(self.squares)

    def ratio(self, level: float) -> Band:
        """Measured over declared, [m]; NaN where nothing is declared."""
        declared = np.where(self.declared > 0, self.declared, np.nan)
        return Band(*(end / declared for end in bands.of_root_mean(self.squares, level)))

    @property
    def exponent(self) -> Band | None:
        """The slope of log B against the logarithm of the law; None where either does not vary."""
        if self.squares.mean(axis=0).min() <= 0 or np.ptp(self.declared) <= 1e-9 or len(self.values) < 2:
            return None
        return bands.of_slope(self.declared**2, self.squares)


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Runs the sweeps, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    curves = []
    for sweep in chosen(config):
        console.print(f"[bold]{sweep.title}[/bold], {sweep.symbol}: B = {sweep.law}")
        curves += measure(config, sweep, run_dir)
    squares = step_sizes(config, run_dir)

    headings, lines = rows(curves, config)
    caption = "exponent of B in its law (1: the law), on each problem; the largest B measured / declared; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(curves, run_dir / "points.csv")
    plot(curves, config, squares, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(curves, config, squares), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def build_problem(config: Config, name: str, num_workers: int) -> base.Problem:
    """One of `PROBLEMS`."""
    if name == "logistic":
        one = nonconvex_logistic.build(
            num_workers=1, dim=config.dim, batch_size=config.batch_size, num_examples=config.num_examples
        )
        return identical_workers.shared(one, num_workers=num_workers)
    return identical_workers.linear(num_workers=num_workers, dim=config.dim, noise=float(name == "noise"))


def measure(config: Config, sweep: Sweep, run_dir: Path) -> list[Curve]:
    """The curves of one sweep, one for each problem; what was measured before is read."""
    values = sweep.values[: config.num_values]
    points = []
    for value in values:
        num_workers = sweep.num_workers(value, config.num_workers)
        built = {name: build_problem(config, name, num_workers) for name in PROBLEMS}
        found: dict[str, np.ndarray] = {}
        for together in [{name: built[name]} for name in PROBLEMS] if sweep.looks else [built]:
            piece = f"{sweep.name}_{value:g}_{'_'.join(together)}".replace(" ", "_")
            compute = partial(distances, config, sweep, together, value, config.step_size, config.num_steps)
            found |= record.kept(run_dir, piece, compute)
        points.append((value, num_workers, built, found))
    curves = []
    for name in PROBLEMS:
        columns = []
        for value, num_workers, built, found in points:
            unit = config.step_size**2 * (built[name].constants.grad_second_moment or 1.0)
            paper = math.nan if sweep.paper is None else sweep.paper(value, num_workers, config.dim)
            columns.append((found[name] / unit, math.sqrt(found[f"{name} declared"] / unit), paper))
        squares, declared, papers = zip(*columns, strict=True)
        curves.append(
            Curve(sweep, name, np.array(values), np.stack(squares, axis=1), np.array(declared), np.array(papers))
        )
    return curves


def distances(
    config: Config, sweep: Sweep, built: dict[str, base.Problem], value: float, step_size: float, num_steps: int
) -> dict[str, np.ndarray]:
    """One point: {problem: mean_t ‖x - v‖² float[S], "problem declared": its bound}, parameter units squared."""
    problem = identical_workers.side_by_side(built)
    algorithm = sweep.build(problem.oracle, value, problem.num_workers, step_size)
    params = problem.init(jax.random.key(config.seed))
    result = run.run(
        algorithm,
        params,
        problem.data,
        num_steps=num_steps,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_seeds,
        metrics={"distances_sq": metrics.metric(distances_of_each, 1)},
        check="every_step",  # one program less to compile, and these steps cost nothing
    )
    found = {}
    for name, values in result.history["distances_sq"][1].items():
        means = values.astype(np.float64)[:, num_steps // 2 :].mean(axis=1)
        declared = algorithm.consistency_bound(built[name].constants, params[name])
        found[name] = means[:, means.mean(axis=0).argmax()]
        found[f"{name} declared"] = np.asarray(math.nan if declared is None else declared)
    return found


def distances_of_each(moment: metrics.Moment) -> dict[str, Array]:
    """‖x_t - v_t^i‖² of every problem: {name: float[k]}."""
    return {name: stacked.distances_sq(views, moment.params[name]) for name, views in moment.info.views.items()}


def step_sizes(config: Config, run_dir: Path) -> dict[str, np.ndarray]:
    """{sweep: E‖x - v‖², float[S, number of step sizes]} on the logistic problem, at the second value of the sweep."""
    found = {}
    for sweep in chosen(config):
        if sweep.name in STEP_SIZE_SWEEPS:
            built, value = {"logistic": build_problem(config, "logistic", config.num_workers)}, sweep.values[1]
            columns = []
            for step_size in config.step_sizes:
                num_steps = round(config.num_steps * config.step_sizes[0] / step_size)
                compute = partial(distances, config, sweep, built, value, step_size, num_steps)
                columns.append(record.kept(run_dir, f"{sweep.name}_alpha_{step_size:g}", compute)["logistic"])
            found[sweep.name] = np.stack(columns, axis=1)
    return found


def chosen(config: Config) -> list[Sweep]:
    """The sweeps to run."""
    return [sweep for sweep in scaling_laws.sweeps() if not config.sweeps or sweep.name in config.sweeps]


def claims(curves: list[Curve], config: Config, squares: dict[str, np.ndarray]) -> tuple[Claim, ...]:
    """Bounds are kept; where theory says how fast B grows, it does; E‖x - v‖² is quadratic in α."""
    found = []
    num_looks = sum(
        curve.sweep.num_workers(value, config.num_workers)
        for curve in curves
        for value in curve.values[curve.declared > 0]
    )
    level = bands.simultaneous(num_looks)
    for curve in curves:
        name = f"{curve.sweep.title}, {curve.problem}"
        is_known = curve.declared > 0
        if is_known.any():
            ratio = curve.ratio(level)
            top = int(np.where(is_known, ratio.middle, 0.0).argmax())
            ends = [float(end[top]) for end in ratio]
            is_below = np.all(ratio.low[is_known] <= 1 + ROUNDING)
            whole = f"{name}: largest B measured / declared"
            found.append(Claim.of_band(whole, "<= 1 at the lower end, simultaneously", ends, holds=is_below))
        expected = {"equal gradients": 1.0, "noise": 0.5}.get(curve.problem)
        if curve.sweep.is_linear and expected is not None and curve.exponent is not None:
            found.append(slope_claim(f"{name}: exponent of B in {curve.sweep.law}", expected, curve.exponent))
    for title, values in squares.items():
        band = bands.of_slope(np.array(config.step_sizes), values)
        found.append(slope_claim(f"{title.replace('_', ' ')}, logistic: exponent of E‖x − v‖² in α", 2.0, band))
    return tuple(found)


def slope_claim(name: str, expected: float, band: Band) -> Claim:
    """That a slope is `expected`: inside the band, or nearer than 5 % of it."""
    is_near = band.low <= expected <= band.high or abs(band.middle - expected) <= 0.05 * expected
    return Claim.of_band(name, f"{expected:g}, in the band or within 5 %", band, holds=is_near)


def rows(curves: list[Curve], config: Config) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table: one line a sweep."""
    headings = (
        "",
        "B declared",
        "in",
        *(f"exponent, {name}" for name in PROBLEMS),
        *(f"B/declared, {name}" for name in PROBLEMS),
    )
    lines = []
    for sweep in chosen(config):
        own = {curve.problem: curve for curve in curves if curve.sweep.name == sweep.name}
        exponents = [own[name].exponent for name in PROBLEMS]
        tops = [np.nanmax([0.0, *own[name].ratio(bands.LEVEL).middle]) for name in PROBLEMS]
        lines.append(
            (
                sweep.title,
                sweep.law,
                sweep.symbol,
                *("–" if band is None else tables.with_band(band) for band in exponents),
                *(f"{top:.2f}" if top > 0 else "–" for top in tops),
            )
        )
    return headings, lines


def save_points(curves: list[Curve], path: Path) -> None:
    """Every point of every curve."""
    headings = ("relaxation", "problem", "parameter", "value", "B_over_M", "low", "high", "declared", "paper")
    lines = []
    for curve in curves:
        ends = (curve.measured.middle, curve.measured.low, curve.measured.high, curve.declared, curve.paper)
        lines += [
            (curve.sweep.name, curve.problem, curve.sweep.symbol, float(value), *map(float, point))
            for value, *point in zip(curve.values, *ends, strict=True)
        ]
    tables.save_csv(path, headings, lines)


def plot(curves: list[Curve], config: Config, squares: dict[str, np.ndarray], path: Path) -> None:
    """A panel for each sweep, B / M measured and declared; last E‖x - v‖² against α."""
    with figures.paper():
        sweeps = chosen(config)
        num_rows = -(-(len(sweeps) + 1) // COLUMNS)
        figure, axes = figures.panels(num_rows, COLUMNS, height=1.75 * num_rows + 0.4)
        for sweep, axis in zip(sweeps, axes.flat, strict=False):
            draw_sweep(axis, sweep, [curve for curve in curves if curve.sweep.name == sweep.name])
        figures.legend(figure, axes, columns=5)
        draw_step_sizes(axes.flat[len(sweeps)], config, squares)
        for row in axes:
            row[0].set_ylabel("B / M")
        axes.flat[len(sweeps)].set_ylabel("E‖x − v‖²")
        for axis in axes.flat[len(sweeps) + 1 :]:
            axis.axis("off")
        figures.save(figure, path)


def draw_sweep(axis: Axes, sweep: Sweep, curves: list[Curve]) -> None:
    """One panel."""
    for number, curve in enumerate(curves):
        color = figures.COLORS[number]
        shown = curve.declared > 0
        if not shown.any():
            continue
        figures.draw(
            axis, curve.values, curve.measured, color=color, marker=figures.MARKERS[number], label=curve.problem
        )
        is_same = np.allclose(curve.declared, curves[0].declared)
        if number == 0 or not is_same:
            axis.plot(
                curve.values,
                curve.declared,
                color="black" if is_same else color,
                linestyle="--",
                label="declared" if is_same else None,
            )
    if sweep.paper is not None:
        axis.plot(curves[0].values, curves[0].paper, color=figures.GREY, linestyle=":", label="paper's constant")
    axis.set(xscale="log", yscale="log", xlabel=sweep.symbol, title=sweep.title)
    figures.plain_ticks(axis, curves[0].values)
    figures.plain_decades(axis)


def draw_step_sizes(axis: Axes, config: Config, squares: dict[str, np.ndarray]) -> None:
    """E‖x - v‖² against α on the logistic problem."""
    titles = {sweep.name: sweep.title for sweep in scaling_laws.sweeps()}
    sizes = np.array(config.step_sizes)
    for number, (name, values) in enumerate(squares.items(), start=len(PROBLEMS)):
        color, marker = figures.COLORS[number], figures.MARKERS[number]
        figures.draw(axis, sizes, bands.of_mean(values), color=color, marker=marker, label=titles[name])
    axis.set(xscale="log", yscale="log", xlabel="α", title="step size, logistic")
    figures.plain_ticks(axis, config.step_sizes)
    figures.plain_decades(axis)
    axis.legend(fontsize=5.5, loc="upper left", handlelength=1.2, borderpad=0, borderaxespad=0.1)
