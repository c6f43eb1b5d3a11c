"""What does the elastic scheduler buy?

A residual network learns CIFAR-10 by SGD whose workers go on as soon as the layers that have come carry a share β of
the norms of their own gradient, Σ_received a_l >= β Σ a_l, the rule of the authors' code: late layers are left out of
one gradient (norm-bounded), or the worker's own stand in for them (variance-bounded). β = 1 waits for everything:
synchronous SGD, the control. All have the step size that is best for the control, found by doubling and halving on a
seed of its own; the five seeds measured are others.

For how many layers each worker waited in each step goes into the time model of `layered_time`: a layer's forward pass
takes as long as its share of operations, its backward pass twice that, and its message as its share of parameters; the
unit is what one iteration computes, and ρ is how long the link takes to send all layers, in that unit. So the network
is real, and link and machine are a ratio: delays at the start of a message, and machines out of step, are left out.

Answer (small: ResNet-20 of half the width on images of 16 x 16 pixels, 2 workers, 250 steps, 5 seeds; 95 % bands).
Where the link takes as long as the machine, ρ = 1, an iteration at β = 0.25 takes 1.00 units, as if sending were free,
against 1.37 if everything is waited for and 1.08 for a cross-barrier that sends first what is needed first, and waits
for 15 % of the layers. No loss is seen: 2.020 [1.986, 2.053] against 2.021 [1.997, 2.045], and 25.2 % [23.0, 27.4] of
the test set right against 25.0 % [22.4, 27.7]. β = 0.5 waits for 43 % and takes 1.17: less than plain, but 1.089
[1.073, 1.106] times the cross-barrier, so that the claim that half the norm beats both fails there. At ρ = 2 the link
bounds all: 1.99 to 2.05 for β up to a half, 2.06 for the cross-barrier, 2.36 plain; at ρ = 0.5 there is nothing to
gain. β = 0, norm-bounded, ends at 2.14 against 2.02 and at 20.2 % [17.3, 23.0]: 0.116 [0.039, 0.193] more loss by
itself, [-0.018, 0.250] with six comparisons at once. With stand-ins it is 0.054 [0.015, 0.093]. B falls from 2.1 at β
= 0 to 1.4 and 1.1, with stand-ins from 1.5 to 1.0 and 0.9. The network is far from trained, and differences in
accuracy below some 5 % would not be seen; times are those of the model, not of a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.axes import Axes

from elastic_jax import barriers, base, data, metrics, run
from elastic_jax.algorithms import elastic_scheduling_sgd
from elastic_jax.console import page
from elastic_jax.problems import flax_modules, resnet
from experiments import bands, figures, layered_time, layers, record, sweeps, tables
from experiments.answer import Answer, Claim
from experiments.layered_time import Layers

QUESTION = (__doc__ or "").splitlines()[0]

KINDS = ("norm-bounded", "variance-bounded")


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    dataset: str = "cifar10"
    """Of `data`; "digits" needs no download."""
    depth: int = 20
    width: int = 8
    """Channels of the first stage; 16 in the source."""
    reduction: int = 2
    """Images are means over squares of so many pixels a side; 1 leaves them as they are. Four times as quick."""
    num_workers: int = 2
    num_steps: int = 250
    batch_size: int = 16
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    """β."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """ρ: seconds on the link over seconds of computing, of one iteration."""
    step_size: float = 0.1
    """α from which the search starts."""
    num_seeds: int = 5
    num_points: int = 25
    """Points of a curve."""
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        dataset="digits",
        depth=8,
        width=4,
        reduction=1,
        num_steps=24,
        shares=(0.5, 1.0),
        ratios=(1.0,),
        num_points=4,
    ),
    "small": Config(),
    "paper": Config(
        width=16,
        reduction=1,
        num_workers=8,
        num_steps=20_000,
        batch_size=32,
        shares=(0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
        num_seeds=10,
        num_points=100,
    ),
}


class Row(NamedTuple):
    """What came of one kind of scheduler at one β. Arrays have the seeds first."""

    kind: str
    share: float
    losses: np.ndarray
    """[S, m]: training loss."""
    test_losses: np.ndarray
    accuracies: np.ndarray
    awaited: np.ndarray
    """int[S, T, n]: layers for which each worker waited."""
    constant_sq: np.ndarray
    """[S]: mean of ‖x_t - v_t^i‖² / α²."""
    times: np.ndarray
    """[S, r]: time of an iteration at each ρ, in units of what it computes."""

    @property
    def loss(self) -> np.ndarray:
        """[S]: of the last quarter."""
        return np.asarray(self.losses[:, -(self.losses.shape[1] // 4) :].mean(axis=1))


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    costs, problem = build(config)
    control = runner(config, problem, KINDS[0], 1.0)
    searched = record.kept(run_dir, "search", partial(search, config, control))
    step_size = float(searched["step_sizes"][searched["losses"].argmin()])
    console.print(f"[bold]control[/bold]: α = {step_size:g}, {len(costs.order)} layers")
    found = []
    for kind, share in settings(config):
        name = f"{kind.partition('-')[0]}_{share:g}"
        runs = control if share == 1 else runner(config, problem, kind, share)
        measured = record.kept(run_dir, name, partial(train, config, problem, runs, step_size))
        times = np.stack([iteration_times(measured["awaited"], seconds(costs, ratio)) for ratio in config.ratios], 1)
        found.append(Row(kind, share, **measured, times=times))
        console.print(f"[bold]{kind}, β = {share:g}[/bold]: loss {found[-1].loss.mean():.3f}")

    headings, lines = rows(found, config, costs)
    caption = "time of an iteration in units of what it computes, ρ: time on the link in that unit; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(found, config, costs, run_dir / "points.csv")
    plot(found, config, costs, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(found, config, costs), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def settings(config: Config) -> list[tuple[str, float]]:
    """(kind, β); at β = 1 nothing is late, and one kind stands for both."""
    return [(kind, share) for kind in KINDS for share in config.shares if share < 1 or kind == KINDS[0]]


def build(config: Config) -> tuple[layers.Costs, base.Problem]:
    """The costs of the layers, and the problem with its layers in their order."""
    dataset = reduced(data.load(config.dataset), config.reduction)
    problem = resnet.build(
        num_workers=config.num_workers,
        dataset=dataset,
        batch_size=config.batch_size,
        depth=config.depth,
        width=config.width,
        strategy="map",  # compiles the network once, not once for each worker
    )
    module = resnet.ResNet(config.depth, dataset.num_classes, "group", config.width)
    image = jax.ShapeDtypeStruct((1, *dataset.train_inputs.shape[1:]), jnp.float32)
    params = jax.eval_shape(problem.init, jax.random.key(0))
    costs = layers.measure(partial(_forward, module=module), params, image)
    return costs, layers.in_order(problem, costs.order)


def reduced(dataset: data.Dataset, factor: int) -> data.Dataset:
    """`dataset` with the means over squares of `factor` pixels a side, which must divide the sides of the images."""
    return dataset._replace(
        train_inputs=_means(dataset.train_inputs, factor), test_inputs=_means(dataset.test_inputs, factor)
    )


def _means(images: np.ndarray, factor: int) -> np.ndarray:
    count, height, width, channels = images.shape
    if factor == 1:
        return images
    squares = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    return np.rint(squares.mean(axis=(2, 4), dtype=np.float32)).astype(images.dtype)


def _forward(params: base.Params, images: Array, *, module: Any) -> Array:
    logits: Array = flax_modules.apply(module, {"params": params}, images)
    return logits


def seconds(costs: layers.Costs, ratio: float) -> Layers:
    """The time model's input: forward, backward and link, in units of what an iteration computes."""
    computing, sending = costs.operations / costs.operations.sum(), costs.elements / costs.elements.sum()
    return Layers(forward=computing / 3, backward=computing * 2 / 3, link=ratio * sending)


def iteration_times(awaited: np.ndarray, model: Layers) -> np.ndarray:
    """The mean time of an iteration over workers and steps: int[S, T, n] -> [S]."""
    return np.array(
        [np.mean([layered_time.elastic(model, worker).mean() for worker in seed.T], dtype=float) for seed in awaited]
    )


Runs = Callable[[float, int, int], run.Result]
"""`runs(step size, key, number of seeds)`; all of them have one compiled program."""


def runner(config: Config, problem: base.Problem, kind: str, share: float) -> Runs:
    """Runs of one kind of scheduler at one β."""
    algorithm = elastic_scheduling_sgd.build(
        sweeps.sweepable(problem).oracle,
        num_workers=problem.num_workers,
        step_size=1.0,  # α is among the data
        barrier=barriers.own_norm_sum(share),
        substitute=kind == KINDS[1],
    )
    params = problem.init(jax.random.key(config.seed))
    measured = {
        "losses": metrics.loss(1),
        "awaited": metrics.metric(_num_late, 1),
        "distances_sq": metrics.consistency_distance_sq(1),
    }

    def runs(step_size: float, key: int, num_seeds: int) -> run.Result:
        return run.run(
            algorithm,
            params,
            sweeps.with_step_size(problem, step_size),
            num_steps=config.num_steps,
            key=jax.random.key(key),
            seeds=num_seeds,
            metrics=measured,
            on_divergence="continue",
        )

    return runs


def _num_late(moment: metrics.Moment) -> Array:
    """int32[n]: layers without which each worker went on after this step."""
    late: Array = moment.new_state.num_late
    return late


def search(config: Config, runs: Runs) -> dict[str, np.ndarray]:
    """The step sizes tried on the control, and the loss of each in the last quarter."""

    def cost(step_size: float) -> float:
        losses = runs(step_size, config.seed + 1, 1).history["losses"][1]
        return float(losses[:, -(config.num_steps // 4) :].mean(dtype=np.float64))

    tried = sweeps.search(cost, config.step_size)
    return {"step_sizes": np.array(list(tried)), "losses": np.array(list(tried.values()))}


def train(config: Config, problem: base.Problem, runs: Runs, step_size: float) -> dict[str, np.ndarray]:
    """All seeds of one setting: the fields of `Row` that are measured."""
    result = runs(step_size, config.seed + 2, config.num_seeds)
    tests = [
        problem.evaluate(jax.tree.map(lambda leaf, s=seed: leaf[s], result.params)) for seed in range(config.num_seeds)
    ]
    history = {name: values for name, (_, values) in result.history.items()}
    length = config.num_steps // config.num_points
    kept = history["losses"][:, -length * config.num_points :].astype(np.float64)
    return {
        "losses": kept.reshape(len(kept), config.num_points, length).mean(axis=2),
        "test_losses": np.array([float(test["test_loss"]) for test in tests]),
        "accuracies": np.array([float(test["test_accuracy"]) for test in tests]),
        "awaited": len(jax.tree.leaves(result.params)) - history["awaited"],
        "constant_sq": history["distances_sq"].astype(np.float64).mean(axis=(1, 2)) / step_size**2,
    }


def claims(found: list[Row], config: Config, costs: layers.Costs) -> tuple[Claim, ...]:
    """Less time the smaller β is, and the loss of the control."""
    control = next(row for row in found if row.share == 1)
    level = bands.simultaneous(len(found) - 1)
    judged = []
    for kind in KINDS:
        own = sorted((row for row in found if row.kind == kind and row.share < 1), key=lambda row: row.share)
        steps = np.diff([row.times.mean(axis=0) for row in [*own, control]], axis=0)
        least = float(steps.min())
        title = f"{kind}: time of an iteration, least rise from one β to the next"
        judged.append(Claim(title, ">= 0", least, least, float(steps.max()), least >= -1e-9))
        for row in own:
            change = bands.of_mean(row.loss - control.loss, level)
            title = f"{kind}, β = {row.share:g}: training loss less that of the control"
            judged.append(Claim.of_band(title, "<= 0 at the lower end, simultaneously", change, holds=change.low <= 0))
    for number, ratio in enumerate(config.ratios):
        plain = layered_time.plain(seconds(costs, ratio))
        crossed = layered_time.cross_barrier(seconds(costs, ratio))
        best = min((row for row in found if row.kind == KINDS[0]), key=lambda row: abs(row.share - 0.5))
        gain = bands.of_mean(best.times[:, number] / min(plain, crossed))
        title = f"ρ = {ratio:g}: time of an iteration at β = {best.share:g} / the better of plain and cross-barrier"
        judged.append(Claim.of_band(title, "< 1", gain, holds=gain.high < 1))
    return tuple(judged)


def rows(found: list[Row], config: Config, costs: layers.Costs) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    headings = (
        "",
        "β",
        "layers awaited (%)",
        *(f"time, ρ = {ratio:g}" for ratio in config.ratios),
        "training loss",
        "test accuracy (%)",
        "B",
    )
    models = [seconds(costs, ratio) for ratio in config.ratios]
    control = next(row for row in found if row.share == 1)
    lines: list[tuple[str, ...]] = []
    for name, times in (
        ("plain", [layered_time.plain(model) for model in models]),
        ("cross-barrier, in the order made", [layered_time.cross_barrier(m, needed_first=False) for m in models]),
        ("cross-barrier, needed first", [layered_time.cross_barrier(model) for model in models]),
    ):
        lines.append((name, "1", "100", *(f"{value:.3f}" for value in times), *_quality(control)))
    for row in found:
        if row.share < 1:
            share = f"{100 * row.awaited.mean() / len(costs.order):.1f}"
            own = [f"{value:.3f}" for value in row.times.mean(axis=0)]
            lines.append((row.kind, f"{row.share:g}", share, *own, *_quality(row)))
    return headings, lines


def _quality(row: Row) -> tuple[str, str, str]:
    accuracy = tables.with_band(bands.of_mean(100 * row.accuracies))
    return tables.with_band(bands.of_mean(row.loss)), accuracy, f"{np.sqrt(row.constant_sq.mean()):.3g}"


def save_points(found: list[Row], config: Config, costs: layers.Costs, path: Path) -> None:
    """Every seed of every setting; the times of the others; the layers."""
    times = [f"time_{ratio:g}" for ratio in config.ratios]
    headings = ("kind", "share", "seed", "loss", "test_loss", "test_accuracy", "awaited", "B", *times)
    lines = []
    for row in found:
        columns = zip(row.loss, row.test_losses, row.accuracies, row.awaited.mean(axis=(1, 2)), strict=True)
        for seed, values in enumerate(columns):
            others = (float(np.sqrt(row.constant_sq[seed])), *map(float, row.times[seed]))
            lines.append((row.kind, row.share, seed, *map(float, values), *others))
    tables.save_csv(path, headings, lines)
    named = [
        (
            ratio,
            layered_time.plain(model),
            *(layered_time.cross_barrier(model, needed_first=own) for own in (False, True)),
        )
        for ratio, model in ((ratio, seconds(costs, ratio)) for ratio in config.ratios)
    ]
    headings = ("ratio", "plain", "cross_barrier_made_first", "cross_barrier_needed_first")
    tables.save_csv(path.with_name("times.csv"), headings, named)
    sizes = zip(range(len(costs.order)), map(int, costs.elements), map(int, costs.operations), strict=True)
    tables.save_csv(path.with_name("layers.csv"), ("layer", "elements", "operations"), sizes)


def plot(found: list[Row], config: Config, costs: layers.Costs, path: Path) -> None:
    """Time, layers awaited, B, loss and accuracy against β; loss against time."""
    with figures.paper():
        figure, axes = figures.panels(2, 3, height=3.7)
        draw_times(axes[0, 0], found, config, costs)
        for number, kind in enumerate(KINDS):
            own = sorted((row for row in found if row.kind == kind or row.share == 1), key=lambda row: row.share)
            shares = np.array([row.share for row in own])
            for axis, label, columns in (
                (axes[0, 1], kind, [100 * row.awaited.mean(axis=(1, 2)) / len(costs.order) for row in own]),
                (axes[0, 2], "", [np.sqrt(row.constant_sq) for row in own]),
                (axes[1, 0], "", [row.loss for row in own]),
                (axes[1, 1], "", [100 * row.accuracies for row in own]),
            ):
                band = bands.of_mean(np.stack(columns, 1))
                color, marker = figures.COLORS[number], figures.MARKERS[number]
                figures.draw(axis, shares, band, color=color, marker=marker, label=label)
        axes[0, 1].set(title="layers awaited (%)", xlabel="β")
        axes[0, 2].set(title="B", xlabel="β")
        axes[1, 0].set(title="training loss, last quarter", xlabel="β")
        axes[1, 1].set(title="test accuracy (%)", xlabel="β")
        draw_race(axes[1, 2], found, config, costs)
        figures.legend(figure, axes, columns=5)
        figures.save(figure, path)


def draw_times(axis: Axes, found: list[Row], config: Config, costs: layers.Costs) -> None:
    """Time of an iteration against β, with plain and cross-barrier."""
    own = sorted((row for row in found if row.kind == KINDS[0]), key=lambda row: row.share)
    for number, ratio in enumerate(config.ratios):
        color, model = figures.COLORS[2 + number], seconds(costs, ratio)
        band = bands.of_mean(np.stack([row.times[:, number] for row in own], 1))
        figures.draw(axis, np.array([row.share for row in own]), band, color=color, marker="o", label=f"ρ = {ratio:g}")
        axis.axhline(layered_time.plain(model), color=color, linestyle="--", linewidth=0.8)
        axis.axhline(layered_time.cross_barrier(model), color=color, linestyle=":", linewidth=0.8)
    axis.plot([], [], color="black", linestyle="--", linewidth=0.8, label="plain")
    axis.plot([], [], color="black", linestyle=":", linewidth=0.8, label="cross-barrier, needed first")
    axis.set(title="time / computing of a step", xlabel="β", ylim=(0.9, None))


def draw_race(axis: Axes, found: list[Row], config: Config, costs: layers.Costs) -> None:
    """Loss against time where link and machine take the same, or nearly, without the fall of the first tenth."""
    control = next(row for row in found if row.share == 1)
    number = int(np.abs(np.log(config.ratios)).argmin())
    model = seconds(costs, config.ratios[number])
    num_points = control.losses.shape[1]
    steps = (np.arange(num_points) + 0.5) * (config.num_steps // num_points)
    racing = [
        (control, layered_time.plain(model), "black", "--", ""),
        (control, layered_time.cross_barrier(model), "black", ":", ""),
    ]
    for share, color in ((0.25, figures.COLORS[0]), (0.5, figures.COLORS[5])):
        racing += [
            (row, float(row.times[:, number].mean()), color, "-", f"{row.kind}, β = {share:g}")
            for row in found
            if row.kind == KINDS[0] and row.share == share
        ]
    later = slice(max(1, num_points // 10), None)
    for row, unit, color, style, label in racing:
        band = bands.of_mean(row.losses[:, later])
        axis.plot(steps[later] * unit, band.middle, style, color=color, label=label or None)
        axis.fill_between(steps[later] * unit, band.low, band.high, color=color, alpha=0.08, linewidth=0)
    title = f"loss, ρ = {config.ratios[number]:g}, after the first tenth"
    axis.set(title=title, xlabel="time / computing of a step")
