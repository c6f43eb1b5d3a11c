"""How long does a batch take, when there are more workers?

Simulated seconds of a batch, one gradient of each worker, by the model of `meeting_times`, for n = 2, 4, ..., 256. A
gradient takes c = 0.1 s on average, of which a share r is random, exponential: r = 0, 1/2, 1. Parameters are those of a
ResNet-18, 11 689 512 numbers of 32 bits; a message has a latency of 50 µs, on a link of 10 or of 1 Gbit/s. Nothing is
hidden behind computing, and encoding takes no time: these are chosen, not measured. The methods:

    all-reduce, local SGD   all wait for the slowest, in each step or after H = 3 steps; ring all-reduce
    D-PSGD                  on a ring, or with one peer a round, of the exponential graph
    SGP                     one peer a round; it waits for what it should receive
    AD-PSGD                 pairs, after every gradient of one of the two
    SwarmSGD                pairs, H = 3 gradients of each worker between two meetings, whole, or by a lattice of 8 or
                            4 bits; blocking: the two wait for each other, non-blocking: the one who is asked goes on

How far a batch gets is not asked. A claim holds by its 95 % band over seeds, simultaneous where many are judged.

Answer (small: 16 seeds; 95 % bands). In a swarm it does not take longer: from 8 to 256 workers the time grows by 4 % or
less if pairs block, by 3 % if not, and by 3 % for AD-PSGD; from 2 to 8 by up to 29 % without blocking on 1 Gbit/s, as
there are thirds to wait for. All-reduce waits for the slowest, c H_n with exponential times, H_n = Σ_k 1/k, and takes
2.10 times as long with 256 as with 8 on 10 Gbit/s, local SGD 1.74 times, one peer 1.2, a ring 1.06. With 256 workers,
exponential times and 10 Gbit/s a batch takes 0.107 [0.106, 0.107] s in a non-blocking swarm, of which 0.1 are
computing, 0.149 in a blocking one, 0.160 with AD-PSGD, 0.262 and 0.277 with one peer (SGP, D-PSGD), 0.309 on a ring,
0.377 with local SGD, 0.712 with all-reduce. Of all that send numbers whole the non-blocking swarm is the fastest in all
six settings, by a factor of 1.04 [1.039, 1.042] where it is least, before the blocking one. Swarms also send least:
AD-PSGD exchanges six times as often, and on 1 Gbit/s, where its two messages in each batch alone are 0.75 s, takes 1.02
s or more: with constant times that is the slowest. Waiting for a third makes the batch of the swarm 1.32 times as long
there as without. 8 bits then make it 1.80 [1.795, 1.804] times as fast, 4 bits 1.95, but on 10 Gbit/s 1.05 and 1.06.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from elastic_jax import algorithms, base, clocks, compressors, exchanges, links
from elastic_jax.console import page
from elastic_jax.problems import quadratic
from experiments import bands, figures, meeting_times, record, tables
from experiments.answer import Answer, Claim
from experiments.averaging_time import Link
from experiments.bands import Band
from experiments.meeting_times import Compute, Span, Timed

QUESTION = (__doc__ or "").splitlines()[0]
ALL_REDUCE, LOCAL, RING, ONE_PEER, SGP = "all-reduce", "local SGD", "D-PSGD, ring", "D-PSGD, one peer", "SGP, one peer"
AD_PSGD, BLOCKING, NON_BLOCKING = "AD-PSGD", "SwarmSGD, blocking", "SwarmSGD, non-blocking"
FAMILIES = (ALL_REDUCE, LOCAL, RING, ONE_PEER, SGP, AD_PSGD, BLOCKING, NON_BLOCKING)
SWARMS = (BLOCKING, NON_BLOCKING)
WHOLE = 32
"""Bits of a number that is not quantised."""
CONSTANT = 1.1
"""By what factor, at most, a time that does not depend on n may grow."""
TOLERANCE = 0.01
"""How far a time may be from its expectation beyond its band."""
SAVED = 0.05
"""The same of the difference of two."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Config:
    """Every number of the experiment."""

    num_workers: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256)
    """Even."""
    reference: int = 8
    """The n with which the largest is compared, one of them."""
    randomness: tuple[float, ...] = (0.0, 0.5, 1.0)
    """r: the share of a gradient's time that is exponential."""
    compute_seconds: float = 0.1
    """c: of a gradient, on average."""
    num_params: int = 11_689_512
    """Of a ResNet-18 for ImageNet."""
    bandwidths: tuple[float, ...] = (1e10, 1e9)
    """Bits a second of each worker's link, in each direction."""
    latency: float = 5e-5
    """Seconds of a message."""
    local_steps: int = 3
    """H."""
    bits: tuple[int, ...] = (8, 4)
    """Of a number on the lattice."""
    warm_up: int = 30
    """Batches."""
    batches: int = 120
    """At least, after the warm-up."""
    gradients: int = 6000
    """At least, in these: where workers are few there are more batches."""
    num_seeds: int = 16
    seed: int = 0


SIZES: Mapping[str, Config] = {
    "smoke": Config(
        num_workers=(2, 8, 16), randomness=(0.0, 1.0), bandwidths=(1e9,), batches=60, gradients=3000, num_seeds=6
    ),
    "small": Config(),
    "paper": Config(
        num_workers=(2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        randomness=(0.0, 0.25, 0.5, 1.0),
        bandwidths=(1e11, 1e10, 1e9),
        warm_up=100,
        batches=600,
        gradients=60_000,
        num_seeds=32,
    ),
}


class Method(NamedTuple):
    """A line of the figure."""

    family: str
    """One of `FAMILIES`."""
    bits: int = WHOLE
    """Of each number that is sent."""

    @property
    def name(self) -> str:
        """In words."""
        return self.family if self.bits == WHOLE else f"{self.family}, {self.bits} bits"


class Setting(NamedTuple):
    """A panel of the figure."""

    bandwidth: float
    randomness: float

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.bandwidth / 1e9:g} Gbit/s, r = {self.randomness:g}"


class Curve(NamedTuple):
    """One method in one setting."""

    setting: Setting
    method: Method
    seconds: np.ndarray
    """[S, m]: of a batch, for each number of workers."""

    def at(self, config: Config, num_workers: int) -> np.ndarray:
        """[S]."""
        return self.seconds[:, config.num_workers.index(num_workers)]


def main(config: Config, *, size: str, run_dir: Path) -> Answer:
    """Simulates all settings, shows the table, writes points, figure and answer into `run_dir`."""
    console = page()
    record.open_folder(run_dir, config, size=size)
    curves = []
    for setting in settings(config):
        console.print(setting.name)
        curves += measure(config, setting, run_dir)
    known = record.kept(run_dir, "library", partial(library, config))
    headings, lines = rows(curves, config)
    caption = "seconds of a batch, and how many times as many as with fewer workers; 95 % bands"
    console.print(tables.as_table(headings, lines, title=f"{config.num_seeds} seeds", caption=caption))
    (run_dir / "table.md").write_text(tables.as_markdown(headings, lines), encoding="utf-8")
    save_points(curves, config, run_dir / "points.csv")
    plot(curves, config, run_dir / "figure.png")
    answer = Answer(QUESTION, size, claims(curves, known, config), record.seconds(run_dir))
    answer.save(run_dir)
    answer.tell(console, run_dir)
    return answer


def settings(config: Config) -> list[Setting]:
    """Of all panels."""
    return [Setting(bandwidth, share) for bandwidth in config.bandwidths for share in config.randomness]


def methods(config: Config) -> list[Method]:
    """All lines of a panel."""
    quantised = [Method(family, bits) for family in SWARMS for bits in config.bits]
    return [Method(family) for family in FAMILIES] + quantised


def compute(config: Config, setting: Setting) -> Compute:
    """How long a gradient takes."""
    return Compute(config.compute_seconds, setting.randomness)


def measured(config: Config, num_workers: int) -> Span:
    """Which batches."""
    return Span(config.warm_up, max(config.batches, -(-config.gradients // num_workers)))


def link(config: Config, setting: Setting, method: Method) -> Link:
    """Latency, and the seconds of what the method sends at once."""
    given = links.link(config.latency, setting.bandwidth)
    return Link(given.latency, float(given.seconds(message_bits(config, method.bits), num_messages=0)))


def exchange(config: Config, setting: Setting, method: Method) -> float:
    """m: seconds of a message."""
    return meeting_times.message(link(config, setting, method))


@cache
def message_bits(config: Config, bits: int) -> float:
    """Of all parameters, as the library counts them."""
    quantizer = None if bits == WHOLE else compressors.lattice(2**bits)
    return exchanges.message_bits(quantizer, jnp.zeros(config.num_params, jnp.float32))


def measure(config: Config, setting: Setting, run_dir: Path) -> list[Curve]:
    """All methods; what was simulated before is read."""
    found = []
    for num_workers in config.num_workers:
        piece = f"{setting.bandwidth:g}_{setting.randomness:g}_{num_workers}"
        found.append(record.kept(run_dir, piece, partial(seconds, config, setting, num_workers)))
    return [
        Curve(setting, method, np.stack([kept[method.name] for kept in found], axis=1)) for method in methods(config)
    ]


def seconds(config: Config, setting: Setting, num_workers: int) -> dict[str, np.ndarray]:
    """{method: float[S]}; every one has random numbers of its own."""
    found = {}
    for number, method in enumerate(methods(config)):
        of_this = (config.seed, settings(config).index(setting), num_workers, number)
        found[method.name] = simulate(config, setting, method, num_workers, np.random.SeedSequence(of_this))
    return found


def simulate(
    config: Config, setting: Setting, method: Method, num_workers: int, entropy: np.random.SeedSequence
) -> np.ndarray:
    """float[S], seconds of a batch of one method."""
    own, sent, span = compute(config, setting), link(config, setting, method), measured(config, num_workers)
    if method.family in (AD_PSGD, *SWARMS):
        turn: Callable[..., Timed] = {
            AD_PSGD: partial(meeting_times.asking, num_steps=1),
            BLOCKING: partial(meeting_times.waiting, num_steps=config.local_steps),
            NON_BLOCKING: partial(meeting_times.asking, num_steps=2 * config.local_steps),
        }[method.family]
        sources = [np.random.default_rng(source) for source in entropy.spawn(config.num_seeds)]
        takes = meeting_times.message(sent)
        return np.array([turn(random, own, takes, num_workers=num_workers, span=span).seconds for random in sources])
    in_rounds: dict[str, Callable[..., np.ndarray]] = {
        ALL_REDUCE: partial(meeting_times.together, period=1),
        LOCAL: partial(meeting_times.together, period=config.local_steps),
        RING: meeting_times.on_a_ring,
        ONE_PEER: meeting_times.with_one_peer,
        SGP: meeting_times.pushing,
    }
    given = {"num_workers": num_workers, "span": span, "seeds": config.num_seeds}
    return in_rounds[method.family](np.random.default_rng(entropy), own, sent, **given)


def library(config: Config) -> dict[str, np.ndarray]:
    """What the library's methods and the simulation have without messages, with exponential times: each [S].

    {meetings_library, meetings_blocking, meetings_non_blocking: of a swarm in a batch; seconds_library, seconds: of a
    batch of AD-PSGD}.
    """
    n, own = config.reference, Compute(config.compute_seconds, 1.0)
    problem = quadratic.build(num_workers=n, dim=2)
    build = {name: algorithms.variant(name).build for name in ("swarm_sgd", "asynchronous_gossip_sgd")}
    swarm = build["swarm_sgd"](problem.oracle, num_workers=n, local_steps=config.local_steps, mode="non_blocking")
    clock = clocks.exponential(config.compute_seconds)
    gossip = build["asynchronous_gossip_sgd"](problem.oracle, num_workers=n, clock=clock)
    span = measured(config, n)
    sources = np.random.SeedSequence((config.seed, n)).spawn(config.num_seeds)
    turns: tuple[tuple[Callable[..., Timed], int], ...] = (
        (meeting_times.asking, 2 * config.local_steps),
        (meeting_times.waiting, config.local_steps),
        (meeting_times.asking, 1),
    )
    asked, waited, gossiped = (
        [turn(np.random.default_rng(one), own, 0.0, num_workers=n, num_steps=steps, span=span) for one in sources]
        for turn, steps in turns
    )
    # a batch is n gradients: n/2 steps of two workers, or n of one; a meeting is 2/n of parallel time
    half = n // 2
    return {
        "meetings_library": elapsed(swarm, problem, config, span.batches * half) * half / span.batches,
        "meetings_blocking": np.array([timed.meetings for timed in waited]),
        "meetings_non_blocking": np.array([timed.meetings for timed in asked]),
        "seconds_library": elapsed(gossip, problem, config, span.batches * n) / span.batches,
        "seconds": np.array([timed.seconds for timed in gossiped]),
    }


def elapsed(algorithm: base.Algorithm, problem: base.Problem, config: Config, num_steps: int) -> np.ndarray:
    """float[S], what `Info.elapsed` comes to in so many steps."""

    def total(key: Array) -> Array:
        def body(state: base.PyTree, step: Array) -> tuple[base.PyTree, Array]:
            state, info = algorithm.step(jax.random.fold_in(key, step), state, problem.data)
            return state, info.elapsed

        start = algorithm.init(key, problem.init(jax.random.key(config.seed)))
        return jnp.sum(lax.scan(body, start, jnp.arange(num_steps, dtype=jnp.uint32))[1])

    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    return np.asarray(jax.jit(jax.vmap(total))(keys), np.float64)


def expected(config: Config, setting: Setting, method: Method, num_workers: int) -> float:
    """Seconds of a batch where they are known; NaN where not."""
    if method.family not in (ALL_REDUCE, LOCAL):
        return float("nan")
    return meeting_times.expected_together(
        compute(config, setting),
        link(config, setting, method),
        num_workers=num_workers,
        period=1 if method.family == ALL_REDUCE else config.local_steps,
    )


def claims(curves: list[Curve], known: Mapping[str, np.ndarray], config: Config) -> tuple[Claim, ...]:
    """Times of pairs do not grow, those of all together do as known; the order of methods; what bits save."""
    found = [known_claim(curves, config, family) for family in (ALL_REDUCE, LOCAL)]
    found += [growth_claim(curves, config, family) for family in (AD_PSGD, *SWARMS)]
    found += [
        order_claim(curves, config, *pair)
        for pair in (
            *((slower, NON_BLOCKING) for slower in FAMILIES[:-1]),
            (ALL_REDUCE, ONE_PEER),
            (RING, ONE_PEER),
            (ONE_PEER, SGP),
        )
    ]
    for bandwidth in config.bandwidths:
        found += [factor_claim(curves, config, bandwidth, bits) for bits in config.bits]
        found.append(saving_claim(curves, config, bandwidth))
    return (*found, *library_claims(known))


def known_claim(curves: list[Curve], config: Config, family: str) -> Claim:
    """Every time is the expected one."""
    own = [curve for curve in curves if curve.method.family == family]
    ratios = [
        curve.seconds / [expected(config, curve.setting, curve.method, n) for n in config.num_workers] for curve in own
    ]
    together = np.concatenate(ratios, axis=1)
    band = bands.of_mean(together, bands.simultaneous(together.shape[1]))
    worst = int(np.abs(band.middle - 1).argmax())
    return Claim.of_band(
        f"{family}: seconds / expected, farthest from 1",
        f"1, within {TOLERANCE:g} of the simultaneous bands",
        [float(end[worst]) for end in band],
        holds=np.all((band.low - TOLERANCE <= 1) & (band.high + TOLERANCE >= 1)),
    )


def growth_claim(curves: list[Curve], config: Config, family: str) -> Claim:
    """Seconds with most workers over those with `config.reference`, where they are most."""
    own = [curve for curve in curves if curve.method.family == family]
    ratios = [growth(curve, config, bands.simultaneous(len(own))) for curve in own]
    worst = int(np.argmax([ratio.middle for ratio in ratios]))
    text = f"{family}: seconds with {max(config.num_workers)} workers / with {config.reference}, most"
    return Claim.of_band(
        f"{text} ({own[worst].method.bits} bits, {own[worst].setting.name})",
        f"<= {CONSTANT:g} at the upper end, simultaneously",
        ratios[worst],
        holds=all(ratio.high <= CONSTANT for ratio in ratios),
    )


def growth(curve: Curve, config: Config, level: float = bands.LEVEL) -> Band:
    """Seconds with most workers over those with `config.reference`."""
    ends = np.stack([curve.at(config, max(config.num_workers)), curve.at(config, config.reference)], axis=1)
    return bands.of_positive(_ratio, ends, level)


def order_claim(curves: list[Curve], config: Config, slower: str, faster: str) -> Claim:
    """With most workers one method is never faster than another, both sending numbers whole."""
    chosen = settings(config)
    ratios = [
        quotient(curves, config, setting, Method(slower), Method(faster), bands.simultaneous(len(chosen)))
        for setting in chosen
    ]
    worst = int(np.argmin([ratio.middle for ratio in ratios]))
    return Claim.of_band(
        f"{slower} / {faster}: seconds with {max(config.num_workers)} workers, least ({chosen[worst].name})",
        ">= 1 at the lower end, simultaneously",
        ratios[worst],
        holds=all(ratio.low >= 1 - ROUNDING for ratio in ratios),
    )


def factor_claim(curves: list[Curve], config: Config, bandwidth: float, bits: int) -> Claim:
    """What fewer bits are worth to a non-blocking swarm: no less than if nobody waited for a third."""
    chosen = [setting for setting in settings(config) if setting.bandwidth == bandwidth]
    pair = Method(NON_BLOCKING), Method(NON_BLOCKING, bits)
    steps = 2 * config.local_steps
    ratios, least = [], 0.0
    for setting in chosen:
        ratios.append(quotient(curves, config, setting, *pair, bands.simultaneous(len(chosen))))
        both = [
            meeting_times.without_waiting(compute(config, setting), exchange(config, setting, method), num_steps=steps)
            for method in pair
        ]
        least = both[0] / both[1]  # whatever r is
    worst = int(np.argmin([ratio.middle for ratio in ratios]))
    return Claim.of_band(
        f"{NON_BLOCKING}: seconds whole / with {bits} bits, {max(config.num_workers)} workers, "
        f"least ({chosen[worst].name})",
        f">= {least:.3g}, as without waiting, in the simultaneous bands",
        ratios[worst],
        holds=all(ratio.high >= least for ratio in ratios),
    )


def saving_claim(curves: list[Curve], config: Config, bandwidth: float) -> Claim:
    """Fewer bits save a blocking swarm what they take less, once in H steps."""
    chosen = [setting for setting in settings(config) if setting.bandwidth == bandwidth]
    pair = Method(BLOCKING), Method(BLOCKING, config.bits[0])
    most = max(config.num_workers)
    saved = []
    for setting in chosen:
        whole, quantised = (find(curves, setting, method).at(config, most) for method in pair)
        less = exchange(config, setting, pair[0]) - exchange(config, setting, pair[1])
        saved.append((whole - quantised) / (less / config.local_steps))
    band = bands.of_mean(np.stack(saved, axis=1), bands.simultaneous(len(saved)))
    worst = int(np.abs(band.middle - 1).argmax())
    return Claim.of_band(
        f"{BLOCKING}: what {config.bits[0]} bits save / (m - m')/H, {most} workers, farthest from 1 "
        f"({chosen[worst].name})",
        f"1, within {SAVED:g} of the simultaneous bands",
        [float(end[worst]) for end in band],
        holds=np.all((band.low - SAVED <= 1) & (band.high + SAVED >= 1)),
    )


def library_claims(known: Mapping[str, np.ndarray]) -> list[Claim]:
    """The simulation is one of the library's methods."""
    found = []
    for form in ("blocking", "non_blocking"):
        band = bands.of_mean(known[f"meetings_{form}"] / known["meetings_library"])
        text = f"swarm_sgd, {form.replace('_', '-')}: meetings in a batch, simulated / of the library"
        found.append(Claim.of_band(text, f"1, within {TOLERANCE:g}", band, holds=abs(band.middle - 1) <= TOLERANCE))
    band = bands.of_mean(known["seconds"] / known["seconds_library"])
    text = "asynchronous_gossip_sgd: seconds of a batch without messages, simulated / of the library"
    is_near = band.low - TOLERANCE <= 1 <= band.high + TOLERANCE
    return [*found, Claim.of_band(text, f"1, within {TOLERANCE:g} of the band", band, holds=is_near)]


def find(curves: list[Curve], setting: Setting, method: Method) -> Curve:
    """One of them."""
    return next(curve for curve in curves if curve.setting == setting and curve.method == method)


def quotient(curves: list[Curve], config: Config, setting: Setting, one: Method, other: Method, level: float) -> Band:
    """Of the seconds of two methods, with most workers."""
    most = max(config.num_workers)
    ends = np.stack([find(curves, setting, method).at(config, most) for method in (one, other)], axis=1)
    return bands.of_positive(_ratio, ends, level)


def rows(curves: list[Curve], config: Config) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the table: one line for a method and a link."""
    most = max(config.num_workers)
    pairs = [(f"n = {most}, r = {share:g}", f"/ n = {config.reference}, r = {share:g}") for share in config.randomness]
    headings = ("", "Gbit/s", *(text for pair in pairs for text in pair))
    lines = []
    for bandwidth in config.bandwidths:
        for method in methods(config):
            cells = []
            for share in config.randomness:
                curve = find(curves, Setting(bandwidth, share), method)
                cells += [cell(bands.of_mean(curve.at(config, most))), f"{float(growth(curve, config).middle):.2f}"]
            lines.append((method.name, f"{bandwidth / 1e9:g}", *cells))
    return headings, lines


def cell(band: Band) -> str:
    """Without a band where chance has no part."""
    return tables.with_band(band) if band.high - band.low > ROUNDING else f"{float(band.middle):.3g}"


def save_points(curves: list[Curve], config: Config, path: Path) -> None:
    """Every point of every line, with what is expected where that is known."""
    lines = []
    for curve in curves:
        band = bands.of_mean(curve.seconds)
        for number, n in enumerate(config.num_workers):
            ends = [float(end[number]) for end in band]
            known = expected(config, curve.setting, curve.method, n)
            lines.append((*curve.setting, curve.method.family, curve.method.bits, n, *ends, known))
    headings = ("bandwidth", "randomness", "method", "bits", "workers", "seconds", "low", "high", "expected")
    tables.save_csv(path, headings, lines)


def plot(curves: list[Curve], config: Config, path: Path) -> None:
    """A row for each link, a panel for each randomness; seconds of a batch against n."""
    colors = dict(
        zip(FAMILIES, (figures.COLORS[6], figures.GREY, *figures.COLORS[2:6], *figures.COLORS[1::-1]), strict=True)
    )
    markers = dict(zip(FAMILIES, (*figures.MARKERS, "*"), strict=True))
    dashes = dict(zip((WHOLE, *config.bits), ("-", "--", ":"), strict=False))
    with figures.paper():
        height = 2.3 * len(config.bandwidths) + 1.0
        figure, axes = figures.panels(
            len(config.bandwidths), len(config.randomness), height=height, sharex=True, sharey="row"
        )
        for curve in curves:
            row = config.bandwidths.index(curve.setting.bandwidth)
            axis = axes[row, config.randomness.index(curve.setting.randomness)]
            figures.draw(
                axis,
                np.array(config.num_workers),
                bands.of_mean(curve.seconds),
                color=colors[curve.method.family],
                marker=markers[curve.method.family],
                linestyle=dashes[curve.method.bits],
                label=curve.method.name,
            )
        for row, bandwidth in enumerate(config.bandwidths):
            axes[row, 0].set_ylabel(f"{bandwidth / 1e9:g} Gbit/s\nseconds of a batch")
        for column, share in enumerate(config.randomness):
            axes[0, column].set_title(f"computing: r = {share:g}{_in_words(share)}")
            axes[-1, column].set_xlabel("workers n")
        for axis in axes.flat:
            axis.set(xscale="log", yscale="log")
            axis.axhline(
                config.compute_seconds, color=figures.GREY, linestyle="-.", linewidth=0.7, label="computing alone"
            )
            figures.plain_ticks(axis, config.num_workers)
            figures.plain_decades(axis)
        figures.legend(figure, axes, columns=4)
        figures.save(figure, path)


def _in_words(share: float) -> str:
    return {0.0: ", constant", 1.0: ", exponential"}.get(share, "")


def _ratio(ends: np.ndarray) -> float:
    return float(ends[0] / ends[1])
