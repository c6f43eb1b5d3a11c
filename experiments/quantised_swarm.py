"""Does it cost accuracy if a swarm exchanges quantised parameters?

A convolutional network learns CIFAR-10 by SwarmSGD, whose workers send their parameters exactly, or rounded to a
lattice with 8 or 4 bits for each, whose error depends on how far the two who meet are apart; nobody is told how far,
they keep a running distance. With 4 bits the message is also rotated before. Beside them is QSGD with as many bits,
whose error depends on how long the message is: it is made for gradients, and parameters are much longer than
differences of parameters, so that it is expected to fail. All take as many steps, and seeds are paired.

Compared are the accuracy on held-out images, and the loss there, of x, the mean of all workers, and of one of them
where it was at the last step, when step sizes have fallen to 0, and half-way. Messages that were decoded wrongly, which
the workers do not notice, are counted. Seconds are simulated: a step takes `compute`, and a meeting `latency` and the
bits that a worker sends over `bandwidth`, both directions at once. All workers are equally fast, so that nobody waits.

Answer (small: 8 workers, 3 epochs, 5 seeds; 95 % bands). 8 bits cost nothing: x is 0.08 [-0.21, 0.37] points behind
exact messages, and is where they are half-way in 0.75 [0.72, 0.79] of the seconds. 4 bits cost 0.67 points, and the
band, [0.00, 1.34], does not exclude one point. With either 2 of 31,240 messages were decoded wrongly, which did no
visible harm: the running distance had been too short. Rotation makes 4 bits worse, 14.3 points behind: the
distance must then cover the norm of all differences, and cells are wider than the largest difference asks for. QSGD,
which rounds in units of the length of the parameters, loses 10.4 points with 8 bits and all with 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from elastic_jax import base, compressors, links
from elastic_jax.compressors import Compressor
from elastic_jax.console import page
from experiments import averaging_time, bands, error_runtime_trade_off, figures, record, swarm_training, tables
from experiments.answer import Answer, Claim
from experiments.bands import Band
from experiments.swarm_training import PLACES, TIMES, Network, Program

QUESTION = (__doc__ or "").splitlines()[0]

EXACT = "exact"
ALLOWED = 1.0
"""Points of accuracy that a quantiser may cost."""
LEARNT = 30.0
"""Per cent: three times what guessing one of ten classes gets right."""
_, END = range(len(TIMES))
BESIDE = 0.02
"""Share of bits that a message may have beside those of its numbers: a distance, and what fills up its words."""
WHOLE = 32
"""Bits of a number that is sent as it is."""


class Kind(NamedTuple):
    """One way of sending parameters."""

    quantizer: Compressor | None
    num_bits: int
    """Of each number."""
    is_near: bool = True
    """Whether its error depends on how far the two are apart, and not on how long the message is."""


KINDS: Mapping[str, Kind] = {
    EXACT: Kind(None, WHOLE),
    "8 bits": Kind(compressors.lattice(256), 8),
    "4 bits": Kind(compressors.lattice(16), 4),
    "4 bits, rotated": Kind(compressors.lattice(16, is_rotated=True), 4),
    "QSGD, 8 bits": Kind(compressors.qsgd(127), 8, is_near=False),
    "QSGD, 4 bits": Kind(compressors.qsgd(7), 4, is_near=False),
}
"""The first is what all others are compared with."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    network: Network = field(default_factory=Network)
    kinds: tuple[str, ...] = tuple(KINDS)
    """Of `KINDS`, `EXACT` first."""
    num_workers: int = 8
    """Even, so that all meet."""
    local_steps: int = 3
    epochs: float = 3.0
    compute: float = 5e-3
    """Seconds of one step of a worker."""
    latency: float = 1e-3
    """Seconds until the first bit of a message comes."""
    bandwidth: float = 1e8
    """Bits in a second, each way."""
    num_points: int = 50
    """Of a curve, each the mean over as many steps."""
    num_seeds: int = 5
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        network=Network(
            dataset="digits", reduce=1, channels=(4,), num_examples=1000, num_test=300, batch_size=4, step_size=0.02
        ),
        num_workers=4,
        bandwidth=1e7,
        num_points=10,
        num_seeds=3,
    ),
    "small": Config(),
    "paper": Config(
        network=Network(reduce=1, depth=20, batch_size=16, step_size=0.1, reference_batch=128, scaling=1.0),
        epochs=200.0,
        compute=2e-2,
        bandwidth=1e9,
        num_points=100,
    ),
}


class Row(NamedTuple):
    """What came of one kind. Arrays have the seeds first."""

    kind: str
    losses: np.ndarray
    """[S, m]: training losses of the workers, means over blocks of steps."""
    times: np.ndarray
    """[S, m]: simulated seconds, in the middle of each block."""
    seconds: np.ndarray
    """[S]: simulated, until the end."""
    accuracies: np.ndarray
    """[S, 2, 2]: per cent of the held-out images, at `TIMES` and `PLACES`."""
    test_losses: np.ndarray
    """[S, 2, 2]: likewise."""
    num_failures: np.ndarray
    """[S]: messages that were decoded wrongly."""
    num_messages: np.ndarray
    """[S]: in all."""
    num_bits: np.ndarray
    """[S]: of one message, for each number in it."""
    sent: np.ndarray
    """[S]: bits that a worker sent in all, in the mean."""


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Trains, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    problem = swarm_training.build_problem(config.network, num_workers=config.num_workers, seed=config.seed)
    found = []
    for kind in config.kinds:
        found.append(measure(config, problem, kind, run_dir))
        mean, node = found[-1].accuracies.mean(axis=0)[END]
        console.print(f"[bold]{kind}[/bold]: {mean:.2f} %, one node {node:.2f} %")

    headings, lines = rows(found)
    caption = "held-out images; messages decoded wrongly, of all seeds; simulated seconds; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(found, config, run_dir / "points.csv")
    plot(found, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(found), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def build(config: Config, problem: base.Problem, kind: str) -> Program:
    """The swarm with one kind of messages."""
    others = {"local_steps": config.local_steps, "parallel": True, "quantizer": KINDS[kind].quantizer}
    return swarm_training.build(
        config.network, problem, "swarm_sgd", others, epochs=config.epochs, local_steps=config.local_steps
    )


def measure(config: Config, problem: base.Problem, kind: str, run_dir: Path) -> Row:
    """All seeds of a kind; what was measured before is read."""
    run_one = partial(train, config, problem, build(config, problem, kind))
    name = "_".join(kind.replace(",", "").split())
    seeds = [
        record.kept(run_dir, f"{name}_{number}", partial(run_one, number=number)) for number in range(config.num_seeds)
    ]
    return Row(kind, **{name: np.stack([one[name] for one in seeds]) for name in seeds[0]})


def train(config: Config, problem: base.Problem, program: Program, *, number: int) -> dict[str, np.ndarray]:
    """One seed: the fields of `Row`."""
    found = swarm_training.train(problem, program, seed=config.seed, number=number)
    times, num_meetings = clocked(config, found["bits"]), int(meetings(found["bits"])[-1])
    num_numbers = swarm_training.bits_of_copy(problem) / WHOLE
    return {
        "losses": swarm_training.over_blocks(found["losses"], config.num_points),
        "times": swarm_training.over_blocks(times, config.num_points),
        "seconds": times[-1],
        "accuracies": 100 * found["accuracies"],
        "test_losses": found["test_losses"],
        "num_failures": found["num_failures"],
        "num_messages": np.asarray(num_meetings * problem.num_workers),
        "num_bits": found["bits"][-1] / num_meetings / num_numbers,
        "sent": found["bits"][-1],
    }


def meetings(bits: np.ndarray) -> np.ndarray:
    """[T]: how often a worker has met another, if it has sent `bits` [T] so far."""
    return np.cumsum(np.diff(bits, prepend=0.0) > 0)


def clocked(config: Config, bits: np.ndarray) -> np.ndarray:
    """[T], simulated seconds: when each step is done, if a worker has sent `bits` [T] by then."""
    computed = config.compute * (np.arange(len(bits)) + 1)
    link = links.link(config.latency, config.bandwidth)
    return np.asarray(computed + link.seconds(bits, meetings(bits)))


def claims(found: list[Row]) -> tuple[Claim, ...]:
    """It learns; a lattice costs nothing, decodes rightly and saves seconds; QSGD with as many bits loses."""
    exact = found[0]
    near = [row for row in found[1:] if KINDS[row.kind].is_near]
    level, level_of_lost = bands.simultaneous(len(near)), bands.simultaneous(len(found) - 1 - len(near))
    band = bands.of_mean(exact.accuracies[:, END, 0])
    title = f"{EXACT}: accuracy of x (%)"
    judged = [Claim.of_band(title, f">= {LEARNT:g} at the lower end", band, holds=band.low >= LEARNT)]
    for row in near:
        for place, name in enumerate(PLACES):
            band = bands.of_mean(row.accuracies[:, END, place] - exact.accuracies[:, END, place], level)
            title = f"{row.kind}: accuracy of {name} less that of {name} with exact messages"
            expected = f">= {-ALLOWED:g} at the lower end, simultaneously"
            judged.append(Claim.of_band(title, expected, band, holds=band.low >= -ALLOWED))
        total, most = float(row.num_failures.sum()), float(row.num_failures.max())
        title = f"{row.kind}: messages decoded wrongly, of {row.num_messages.sum():.0f}"
        judged.append(Claim(title, "0", total, float(row.num_failures.min()), most, total == 0))
        band = time_band(row, exact, level)
        title = f"{row.kind}: seconds until the loss is what exact messages have half-way / their seconds"
        judged.append(Claim.of_band(title, "< 1 at the upper end, simultaneously", band, holds=band.high < 1))
    for row in found[1:]:
        wanted, share = KINDS[row.kind].num_bits, float(row.num_bits.mean())
        title = f"{row.kind}: bits of a message for each of its numbers"
        expected = f"{wanted}, and at most {100 * BESIDE:g} % beside"
        judged.append(Claim(title, expected, share, share, share, wanted <= share <= wanted * (1 + BESIDE)))
        if not KINDS[row.kind].is_near:
            band = bands.of_mean(row.accuracies[:, END, 0] - exact.accuracies[:, END, 0], level_of_lost)
            title = f"{row.kind}: accuracy of x less that of x with exact messages"
            expected = f"< {-ALLOWED:g} at the upper end, simultaneously"
            judged.append(Claim.of_band(title, expected, band, holds=band.high < -ALLOWED))
    return tuple(judged)


def time_band(row: Row, exact: Row, level: float) -> Band:
    """Of `time_ratio`; it has none if the loss is not reached when a seed is left out."""
    times = exact.times.mean(axis=0), row.times.mean(axis=0)
    curves = np.stack([exact.losses, row.losses], axis=1)
    return error_runtime_trade_off.band_of_time(partial(time_ratio, times=times), curves, level)


def time_ratio(means: np.ndarray, *, times: tuple[np.ndarray, np.ndarray]) -> float:
    """Of two curves, [2, m]: the second's time to the loss that the first has half-way, over the first's."""
    first, second = (np.stack([own, losses]) for own, losses in zip(times, means, strict=True))
    goal = first[1, first.shape[1] // 2]
    return averaging_time.time_to(second, goal) / averaging_time.time_to(first, goal)


def rows(found: list[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table."""
    accuracies_at = [f"{place}, {time} (%)" for time in TIMES for place in PLACES]
    of_losses = [f"loss of {place}" for place in PLACES]
    headings = ("", "bits of a number", "Mbit of a worker", "decoded wrongly", "seconds", *accuracies_at, *of_losses)
    lines = [
        (
            row.kind,
            f"{row.num_bits.mean():.3g}",
            f"{row.sent.mean() / 1e6:.3g}",
            f"{row.num_failures.sum():.0f} of {row.num_messages.sum():.0f}",
            f"{row.seconds.mean():.3g}",
            *(shown(own) for own in row.accuracies.reshape(len(row.accuracies), -1).T),
            *(shown(own) for own in row.test_losses[:, END].T),
        )
        for row in found
    ]
    return headings, lines


def shown(values: np.ndarray) -> str:
    """The mean with its band, where all is finite."""
    return tables.with_band(bands.of_mean(values)) if np.all(np.isfinite(values)) else "not finite"


def save_points(found: list[Row], config: Config, path: Path) -> None:
    """Every seed: the curve of its loss, and in the line of its last point what was measured in the end."""
    at_ends = [f"{name}_{time}" for name in ("accuracy", "test_loss") for time in ("half_way", "end")]
    ends = [name for at_end in at_ends for name in (at_end, f"{at_end}_of_node")]
    ends += ["failures", "messages", "bits_of_worker"]
    lines = []
    for row in found:
        for seed, curve in enumerate(zip(row.times, row.losses, strict=True)):
            counted = (row.num_failures[seed], row.num_messages[seed], row.sent[seed])
            own = [*row.accuracies[seed].ravel(), *row.test_losses[seed].ravel(), *counted]
            for point, (time, loss) in enumerate(zip(*curve, strict=True)):
                measured = map(float, own) if point == config.num_points - 1 else [None] * len(own)
                epochs = (point + 0.5) / config.num_points * config.epochs
                lines.append((row.kind, seed, epochs, float(time), float(loss), *measured))
    tables.save_csv(path, ("kind", "seed", "epochs", "seconds", "loss", *ends), lines)


def plot(found: list[Row], config: Config, path: Path) -> None:
    """Loss against epochs and against simulated seconds; accuracies in the end."""
    with figures.paper():
        figure, axes = figures.panels(1, 3, height=2.5)
        epochs = (np.arange(config.num_points) + 0.5) / config.num_points * config.epochs
        for row, color in zip(found, figures.COLORS, strict=False):
            losses = bands.of_mean(row.losses)
            figures.draw(axes[0, 0], epochs, losses, color=color, label=row.kind)
            figures.draw(axes[0, 1], row.times.mean(axis=0), losses, color=color)
        highest = 1.1 * found[0].losses.max()
        for axis, name in zip(axes[0], ("epochs", "simulated seconds"), strict=False):
            axis.set(xlabel=name, title="training loss of workers", ylim=(0, highest))
        draw_accuracies(axes[0, 2], found)
        figures.legend(figure, axes, columns=6)
        figures.save(figure, path)


def draw_accuracies(axis: Axes, found: list[Row]) -> None:
    """A line for each kind: x full, one node hollow."""
    for place, (row, color) in enumerate(zip(found, figures.COLORS, strict=False)):
        for offset, values, face in zip((-0.1, 0.1), row.accuracies[:, END].T, (color, "white"), strict=True):
            band = bands.of_mean(values)
            axis.plot([band.low, band.high], [place + offset] * 2, color=color)
            axis.plot(band.middle, place + offset, color=color, marker="o", markerfacecolor=face)
    axis.set_yticks(range(len(found)), [row.kind for row in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set(xlabel="accuracy (%)", title="held-out images: x full, one node hollow")
