"""How far apart do the workers of a swarm drift, on which graph, after how many local steps?

64 workers take H steps and meet in pairs along the edges of a graph, one edge at a time. Measured is the potential of
the theory, Γ_t = Σ_i ‖x_t^i - x_t‖², against parallel time 2t/n, and its mean over the second half of the run, against
what is proved, E Γ <= (α c M)² with c of the graph and of H (`meetings.edges`), for three kinds of gradients:

    pushed apart    g = ±1 in one coordinate, by the sign of the eigenvector of the graph's λ₂
    noise           independent, gaussian, E‖g‖² = 1
    logistic        regression with a non-convex term, each worker with labels of its own, M as certified

A claim holds by its 95 % band over seeds, those of bounds simultaneously.

Answer (small: 64 workers, 16 seeds; 95 % bands). No mean is above its bound. Gradients that push along the slowest
direction of the graph come to 0.14 to 0.17 of it on every graph and for every H (the ring is not yet at rest), so that
its shape, r²/λ₂² and H², is right: Γ goes with H to the power of 2.00, and is 754 times as large on the ring as on the
torus, there 5.1 times as on the hypercube, there 9.0 times as on the complete graph. Independent noise goes with H to
the power of 1.00 and sees less of the graph, with factors of 6.9, 1.29 and 1.23; the bound, which cannot know that it
is noise, is 20 (complete, H = 1) to 2·10⁵ times as large (ring, H = 5). Logistic regression on labels of one's own is
between the two, with factors of 12.6, 1.80 and 1.51.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import algorithms, meetings, metrics, run, stacked, topologies
from elastic_jax.base import Constants, Problem, PyTree
from elastic_jax.console import page
from elastic_jax.problems import nonconvex_logistic
from elastic_jax.topologies import Topology
from experiments import bands, figures, record, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band

QUESTION = (__doc__ or "").splitlines()[0]
GRAPHS = ("ring", "torus", "hypercube", "complete")
KINDS = ("pushed apart", "noise", "logistic")
NUM_POINTS = 100
"""Of a curve, in the file of points."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    num_workers: int = 64
    """A square and a power of two."""
    dim: int = 20
    graphs: tuple[str, ...] = GRAPHS
    local_steps: tuple[int, ...] = (1, 2, 3, 5)
    step_size: float = 0.01
    parallel_time: int = 1000
    """Units of n/2 meetings."""
    num_seeds: int = 16
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(num_workers=16, graphs=("ring", "complete"), local_steps=(1, 2), parallel_time=20, num_seeds=6),
    "small": Config(),
    "paper": Config(num_workers=256, dim=100, parallel_time=20_000, num_seeds=256),
}


class Curve(NamedTuple):
    """One graph, one H, one kind of gradients."""

    graph: str
    local_steps: int
    kind: str
    times: np.ndarray
    """[m], units of parallel time."""
    spreads: np.ndarray
    """[S, m]. Γ_t / α²."""
    bound: float
    """On E Γ_t / α²."""

    @property
    def late(self) -> np.ndarray:
        """[S]. The mean of Γ / α² over the second half."""
        return self.spreads[:, self.spreads.shape[1] // 2 :].mean(axis=1)


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Runs all graphs, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    curves = []
    for name in config.graphs:
        for steps in config.local_steps:
            console.print(f"{name}, H = {steps}")
            curves += measure(config, name, steps, run_dir)
    headings, lines = rows(curves)
    caption = "root of the mean of Γ over the second half, in units of α; share of what is proved; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(curves, run_dir / "points.csv")
    plot(curves, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(curves, config), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def graph(name: str, num_workers: int) -> Topology:
    """One of `GRAPHS`."""
    if name == "torus":
        side = round(num_workers**0.5)
        return topologies.torus(side, num_workers // side)
    makers = {"ring": topologies.ring, "hypercube": topologies.hypercube, "complete": topologies.complete}
    return makers[name](num_workers)


def problem(config: Config, kind: str, topology: Topology) -> Problem:
    """One of `KINDS`; M² of its constants is exact for the first two."""
    if kind == "logistic":
        return nonconvex_logistic.build(
            num_workers=config.num_workers, dim=config.dim, num_examples=32 * config.num_workers, split="by_label"
        )
    laplacian = np.diag(topologies.degrees(topology)) - topology.adjacency.astype(float)
    signs = np.where(np.linalg.eigh(laplacian)[1][:, 1] >= 0, 1.0, -1.0)
    pushes = np.zeros((config.num_workers, config.dim), np.float32)
    pushes[:, 0] = signs if kind == "pushed apart" else 0.0
    return Problem(
        oracle=partial(_pushed, noise=0.0 if kind == "pushed apart" else config.dim**-0.5),
        init=lambda _: jnp.zeros(config.dim),
        data=jnp.asarray(pushes),
        objective=lambda params, data: jnp.vdot(params, data[0]),
        evaluate=lambda _: {},
        constants=Constants(grad_second_moment=1.0),
        num_workers=config.num_workers,
    )


def measure(config: Config, name: str, steps: int, run_dir: Path) -> list[Curve]:
    """The curves of one graph and one H; what was measured before is read."""
    found = []
    for kind in KINDS:
        piece = f"{name}_{steps}_{kind}".replace(" ", "_")
        kept = record.kept(run_dir, piece, partial(spreads, config, name, steps, kind))
        found.append(Curve(name, steps, kind, kept["times"], kept["spreads"], float(kept["bound"])))
    return found


def spreads(config: Config, name: str, steps: int, kind: str) -> dict[str, np.ndarray]:
    """{times [m], spreads [S, m], bound []}, in units of α²."""
    topology = graph(name, config.num_workers)
    built = problem(config, kind, topology)
    algorithm = algorithms.variant("swarm_sgd").build(
        built.oracle,
        num_workers=config.num_workers,
        step_size=config.step_size,
        topology=topology,
        local_steps=steps,
    )
    per_unit = config.num_workers // 2 * steps
    result = run.run(
        algorithm,
        built.init(jax.random.key(config.seed)),
        built.data,
        num_steps=config.parallel_time * per_unit,
        key=jax.random.key(config.seed + 1),
        seeds=config.num_seeds,
        metrics={"spread": metrics.metric(spread, per_unit)},
        progress=False,
    )
    taken, values = result.history["spread"]
    second_moment = built.constants.grad_second_moment
    assert second_moment is not None
    return {
        "times": taken / per_unit,
        "spreads": values / config.step_size**2,
        "bound": np.asarray(meetings.edges(topology).apart(steps) ** 2 * second_moment),
    }


def spread(moment: metrics.Moment) -> Array:
    """Γ_t of a state whose workers have parameters of their own."""
    return jnp.sum(stacked.distances_sq(moment.state.local_params, moment.params))


def claims(curves: list[Curve], config: Config) -> tuple[Claim, ...]:
    """No mean is above its bound; Γ stays; it grows with H as theory says; the smaller λ₂/r, the larger Γ."""
    found = []
    num_looks = sum(curve.spreads.shape[1] for curve in curves)
    level = bands.simultaneous(num_looks)
    for kind in KINDS:
        own = [curve for curve in curves if curve.kind == kind]
        ratios = [bands.of_mean(curve.spreads / curve.bound, level) for curve in own]
        tops = [int(band.middle.argmax()) for band in ratios]
        which = int(np.argmax([band.middle[top] for band, top in zip(ratios, tops, strict=True)]))
        ends = [float(end[tops[which]]) for end in ratios[which]]
        is_below = all(bool(np.all(band.low <= 1)) for band in ratios)
        text = f"{kind}: largest E Γ / bound, on {own[which].graph} with H = {own[which].local_steps}"
        found.append(Claim.of_band(text, "<= 1 at the lower end, simultaneously", ends, holds=is_below))
    for kind, expected in (("pushed apart", 2.0), ("noise", 1.0)):
        for name in config.graphs:
            own = [curve for curve in curves if curve.kind == kind and curve.graph == name]
            band = bands.of_slope(np.array(config.local_steps), np.stack([curve.late for curve in own], axis=1))
            is_near = band.low <= expected <= band.high or abs(band.middle - expected) <= 0.05 * expected
            text = f"{kind}, {name}: exponent of Γ in H"
            found.append(Claim.of_band(text, f"{expected:g}, in the band or within 5 %", band, holds=is_near))
    steps = config.local_steps[-1]
    for kind in KINDS:
        late = {curve.graph: curve.late for curve in curves if curve.kind == kind and curve.local_steps == steps}
        for worse, better in zip(config.graphs, config.graphs[1:], strict=False):
            band = bands.of_positive(lambda ratio: float(ratio.mean()), late[worse] / late[better].mean())
            text = f"{kind}, H = {steps}: Γ on {worse} / on {better}"
            found.append(Claim.of_band(text, "> 1 at the lower end", band, holds=band.low > 1))
    return tuple(found)


def rows(curves: list[Curve]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table: one line for a graph and H."""
    headings = ("", "H", *(text for kind in KINDS for text in (kind, f"share of the bound, {kind}")))
    lines = []
    for graph_name, steps in dict.fromkeys((curve.graph, curve.local_steps) for curve in curves):
        cells = []
        for kind in KINDS:
            curve = next(c for c in curves if (c.graph, c.local_steps, c.kind) == (graph_name, steps, kind))
            cells += [
                tables.with_band(bands.of_root_mean(curve.late)),
                f"{(curve.late.mean() / curve.bound) ** 0.5:.3f}",
            ]
        lines.append((graph_name, str(steps), *cells))
    return headings, lines


def save_points(curves: list[Curve], path: Path) -> None:
    """Points of every curve, about `NUM_POINTS` of each."""
    lines = []
    for curve in curves:
        some = slice(None, None, -(-len(curve.times) // NUM_POINTS))
        band = bands.of_mean(curve.spreads[:, some])
        lines += [
            (curve.graph, curve.local_steps, curve.kind, *map(float, point), curve.bound)
            for point in zip(curve.times[some], *band, strict=True)
        ]
    tables.save_csv(path, ("graph", "H", "gradients", "parallel_time", "spread", "low", "high", "bound"), lines)


def plot(curves: list[Curve], config: Config, path: Path) -> None:
    """A row for each kind of gradients, a panel for each graph; Γ / α² against time, the bound dashed."""
    with figures.paper():
        figure, axes = figures.panels(len(KINDS), len(config.graphs), height=1.6 * len(KINDS) + 0.5, sharex=True)
        for curve in curves:
            row, column = KINDS.index(curve.kind), config.graphs.index(curve.graph)
            axis, number = axes[row, column], config.local_steps.index(curve.local_steps)
            color = figures.COLORS[number]
            positive = curve.times > 0
            band = Band(*(end[positive] for end in bands.of_mean(curve.spreads)))
            figures.draw(axis, curve.times[positive], band, color=color, label=f"H = {curve.local_steps}")
            axis.axhline(curve.bound, color=color, linestyle="--", linewidth=0.7)
        axes[0, 0].plot([], [], color=figures.GREY, linestyle="--", label="proved bound on E Γ")
        for row, kind in enumerate(KINDS):
            axes[row, 0].set_ylabel(f"{kind}\nΓ / α²")
        for column, name in enumerate(config.graphs):
            axes[0, column].set_title(f"{name}, n = {config.num_workers}")
            axes[-1, column].set_xlabel("parallel time")
        for axis in axes.flat:
            axis.set_yscale("log")
            figures.plain_decades(axis)
        figures.legend(figure, axes, columns=len(config.local_steps) + 1)
        figures.save(figure, path)


def _pushed(keys: Array, views: PyTree, data: PyTree, workers: Array, *, noise: float) -> tuple[Array, PyTree]:
    """G = push_i + noise z, z standard gaussian."""
    draws = jax.vmap(partial(jax.random.normal, shape=views.shape[1:], dtype=views.dtype))(keys)
    return jnp.zeros(workers.shape[0]), stacked.take_rows(data, workers) + noise * draws
