"""How long a batch takes in each way of training in parallel: a time model of computing, links and waiting.

A worker computes one gradient in C = c (1 - r) + c r E seconds, E exponential with mean 1: constant times for r = 0,
those of `clocks.exponential` for r = 1, and E C = c always. Its link sends one message at a time, and at the same time
receives one. A message takes m = latency + transfer; nothing is computed by those who wait for one. A batch is n
gradients. Worker i, which begins at f_i, has its gradient at a_i = f_i + C_i, and begins anew

    all-reduce, local SGD   when all have H gradients, and 2 (n - 1) messages of 1/n have gone round: max_j a_j + A
    D-PSGD on a ring        max(a_{i-1}, a_i, a_{i+1}) + latency + 2 transfer
    D-PSGD, one peer        max(a_i, a_{i+d}) + m, d = 1, 2, 4, ... in turn: it has sent and received
    SGP, one peer           max(a_i, when the message of i + d has come): it goes on while its own is sent

and in pairs, where there are no rounds (`asking`, `waiting`):

    asking      who has k gradients asks a worker drawn at random; the exchange takes m, during which the other one goes
                on computing, and neither exchanges with a third: who asks one of them waits until both are free, first
                come, first served, and is itself free to answer meanwhile
    waiting     who has H gradients draws one of those who compute and are not waited for, and waits until it has its H;
                the exchange takes m, and both begin anew

AD-PSGD asks after every gradient. A worker that asks after 2 H of them is asked as often as it asks, and so meets
another every H gradients on average: SwarmSGD, non-blocking. `waiting` is its blocking form. Both have n/(2 H) meetings
in a batch, as `swarm_sgd` has.

Sources of the methods: `elastic_jax.algorithms`. The model of time is one of this module's own; it leaves out what can
be hidden behind computing, and what it takes to encode messages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from elastic_jax import clocks
from experiments import averaging_time
from experiments.averaging_time import Link

BLOCK = 4096
"""Random numbers drawn at once."""


class Compute(NamedTuple):
    """How long a gradient takes."""

    mean: float
    """c > 0, seconds."""
    randomness: float
    """r, in [0, 1]: the share of c that is exponential."""

    def draw(self, random: np.random.Generator, num_steps: int, shape: tuple[int, ...]) -> np.ndarray:
        """Seconds of `num_steps` >= 1 gradients together, of the given shape."""
        fixed = self.mean * (1 - self.randomness) * num_steps
        if self.randomness == 0:
            return np.full(shape, fixed)
        return fixed + self.mean * self.randomness * random.standard_gamma(num_steps, shape)


class Span(NamedTuple):
    """What is measured: the batches after the first ones."""

    warm_up: int
    """>= 0, batches."""
    batches: int
    """>= 1, after them."""

    def turns(self, num_steps: int) -> tuple[int, int]:
        """The same in turns of `num_steps` gradients of each worker, rounded up: when to begin, and when to end."""
        first = -(-self.warm_up // num_steps)
        return first, first - (-self.batches // num_steps)


class Timed(NamedTuple):
    """Of one simulation in pairs."""

    seconds: float
    """Of a batch."""
    meetings: float
    """In a batch."""


def message(link: Link) -> float:
    """m, seconds."""
    return link.latency + link.transfer


def together(
    random: np.random.Generator, compute: Compute, link: Link, *, num_workers: int, period: int, span: Span, seeds: int
) -> np.ndarray:
    """float[S], seconds of a batch where all average after every `period` steps: 1 for large batches."""
    first, last = span.turns(period)
    slowest = [compute.draw(random, period, (seeds, num_workers)).max(axis=1) for _ in range(last - first)]
    return (np.mean(slowest, axis=0) + averaging_time.all_reduce(link, num_workers=num_workers)) / period


def on_a_ring(
    random: np.random.Generator, compute: Compute, link: Link, *, num_workers: int, span: Span, seeds: int
) -> np.ndarray:
    """float[S], seconds of a batch of D-PSGD on a ring."""
    exchange = averaging_time.exchange(link) if num_workers > 2 else message(link)

    def next_beginnings(done: np.ndarray, _: int) -> np.ndarray:
        return np.maximum(np.maximum(np.roll(done, 1, axis=1), np.roll(done, -1, axis=1)), done) + exchange

    return _rounds(random, compute, next_beginnings, num_workers=num_workers, span=span, seeds=seeds)


def with_one_peer(
    random: np.random.Generator, compute: Compute, link: Link, *, num_workers: int, span: Span, seeds: int
) -> np.ndarray:
    """float[S], seconds of a batch of D-PSGD on the one-peer exponential graph."""

    def next_beginnings(done: np.ndarray, number: int) -> np.ndarray:
        return np.maximum(done, np.roll(done, -_distance(number, num_workers), axis=1)) + message(link)

    return _rounds(random, compute, next_beginnings, num_workers=num_workers, span=span, seeds=seeds)


def pushing(
    random: np.random.Generator, compute: Compute, link: Link, *, num_workers: int, span: Span, seeds: int
) -> np.ndarray:
    """float[S], seconds of a batch of SGP on the one-peer exponential graph."""
    link_free = np.zeros((seeds, num_workers))

    def next_beginnings(done: np.ndarray, number: int) -> np.ndarray:
        sent = np.maximum(done, link_free) + link.transfer
        link_free[:] = sent
        return np.maximum(done, np.roll(sent, -_distance(number, num_workers), axis=1) + link.latency)

    return _rounds(random, compute, next_beginnings, num_workers=num_workers, span=span, seeds=seeds)


def asking(
    random: np.random.Generator,
    compute: Compute,
    exchange: float,
    *,
    num_workers: int,
    num_steps: int,
    span: Span,
    is_exclusive: bool = True,
) -> Timed:
    """A batch where workers ask each other after `num_steps` gradients.

    Args:
        random: of compute times and of who is asked.
        compute: of a gradient.
        exchange: m, seconds >= 0.
        num_workers: n >= 2.
        num_steps: k >= 1.
        span: what is measured.
        is_exclusive: False: a worker answers any number at once, and nobody waits for anything but its own exchange.
    """
    times, others = _times(random, compute, num_steps), _others(random, num_workers)
    is_busy = [False] * num_workers
    # at both of them: who waits, since which turn, and for whom
    queues: list[dict[int, tuple[int, int]]] = [{} for _ in range(num_workers)]
    events = [(next(times), worker, -1) for worker in range(num_workers)]  # (when, who, with whom; -1: it computes)
    heapq.heapify(events)
    first, last = (num_workers * turn for turn in span.turns(num_steps))
    num_turns, num_meetings, began, met_before = 0, 0, 0.0, 0

    def start(now: float, worker: int, other: int) -> None:
        if is_exclusive:
            is_busy[worker] = is_busy[other] = True
        heapq.heappush(events, (now + exchange, worker, other))

    while True:
        now, worker, other = heapq.heappop(events)
        if other < 0:
            num_turns += 1
            if num_turns == first:
                began, met_before = now, num_meetings
            if num_turns == last:
                per_batch = (last - first) * num_steps / num_workers
                return Timed((now - began) / per_batch, (num_meetings - met_before) / per_batch)
            other = next(others)
            other += other >= worker
            if is_busy[worker] or is_busy[other]:
                queues[worker][worker] = queues[other][worker] = (num_turns, other)
            else:
                start(now, worker, other)
            continue
        num_meetings += 1
        heapq.heappush(events, (now + next(times), worker, -1))
        if not is_exclusive:
            continue
        is_busy[worker] = is_busy[other] = False
        asked = {**queues[worker], **queues[other]}
        for who, (_, whom) in sorted(asked.items(), key=_number):
            if not (is_busy[who] or is_busy[whom]):
                del queues[who][who], queues[whom][who]
                start(now, who, whom)


def waiting(
    random: np.random.Generator, compute: Compute, exchange: float, *, num_workers: int, num_steps: int, span: Span
) -> Timed:
    """A batch where workers meet after `num_steps` gradients each, and who has them first waits for the other.

    Args:
        random: of compute times and of who is waited for.
        compute: of a gradient.
        exchange: m, seconds >= 0.
        num_workers: n >= 2, even, so that there is always one to wait for.
        num_steps: H >= 1.
        span: what is measured.

    Raises:
        ValueError: an odd number of workers.
    """
    if num_workers % 2:
        raise ValueError(f"num_workers = {num_workers}; must be even")
    times = _times(random, compute, num_steps)
    waits_for_it = [-1] * num_workers
    free = list(range(num_workers))  # they compute and nobody waits for them
    places = list(range(num_workers))  # in `free`
    events = [(next(times), worker, -1) for worker in range(num_workers)]
    heapq.heapify(events)
    first, last = (num_workers * turn for turn in span.turns(num_steps))
    num_turns, num_meetings, began, met_before = 0, 0, 0.0, 0
    shares = _shares(random)

    def take(worker: int) -> None:
        moved = free.pop()
        if moved != worker:
            free[places[worker]], places[moved] = moved, places[worker]

    while True:
        now, worker, other = heapq.heappop(events)
        if other < 0:
            num_turns += 1
            if num_turns == first:
                began, met_before = now, num_meetings
            if num_turns == last:
                per_batch = (last - first) * num_steps / num_workers
                return Timed((now - began) / per_batch, (num_meetings - met_before) / per_batch)
            if waits_for_it[worker] >= 0:
                heapq.heappush(events, (now + exchange, waits_for_it[worker], worker))
                waits_for_it[worker] = -1
            else:
                take(worker)
                chosen = free[int(next(shares) * len(free))]
                take(chosen)
                waits_for_it[chosen] = worker
            continue
        num_meetings += 1
        for one in (worker, other):
            places[one] = len(free)
            free.append(one)
            heapq.heappush(events, (now + next(times), one, -1))


def expected_together(compute: Compute, link: Link, *, num_workers: int, period: int) -> float:
    """What `together` is on average: E max of n sums of H exponentials is ∫ 1 - P(H, s)^n ds, for H = 1 Σ_k 1/k."""
    return (
        period * compute.mean * (1 - compute.randomness)
        + compute.mean * compute.randomness * slowest_of(num_workers, period)
        + averaging_time.all_reduce(link, num_workers=num_workers)
    ) / period


def slowest_of(num_workers: int, num_steps: int) -> float:
    """E max over n workers of the sum of `num_steps` exponentials of mean 1; H_n = Σ_{k <= n} 1/k for one step."""
    return clocks.mean_of_kth(clocks.gamma(float(num_steps)), num_workers, num_workers)


def without_waiting(compute: Compute, exchange: float, *, num_steps: int) -> float:
    """What `asking` comes to where nobody waits for a third: c + m/k, for every n; a lower bound where some do."""
    return compute.mean + exchange / num_steps


def memoryless_wait(compute: Compute, exchange: float) -> float:
    """(1 + r/2) c + m: `waiting` for H = 1 with r = 1 and for every even n; for every r with n = 2.

    One of the two in each meeting has waited. With r = 1 that is c on average, whenever it began to; with n = 2 it is
    the difference of two exponentials, r c on average.
    """
    return compute.mean * (1 + compute.randomness / 2) + exchange


def _rounds(
    random: np.random.Generator,
    compute: Compute,
    next_beginnings: Callable[[np.ndarray, int], np.ndarray],
    *,
    num_workers: int,
    span: Span,
    seeds: int,
) -> np.ndarray:
    """float[S]: from when workers begin after the warm-up to when they do at the end, over the batches between.

    `next_beginnings(done float[S, n], t)` says when they begin anew, once they have their gradients of round t.
    """
    begins = began = np.zeros((seeds, num_workers))
    for number in range(span.warm_up + span.batches):
        if number == span.warm_up:
            began = begins
        done = begins + compute.draw(random, 1, begins.shape)
        begins = next_beginnings(done, number)
    return np.asarray((begins - began).mean(axis=1) / span.batches)


def _distance(number: int, num_workers: int) -> int:
    """From whom a worker hears in a round: of so many places on."""
    return int(2 ** (number % (num_workers - 1).bit_length()))


def _times(random: np.random.Generator, compute: Compute, num_steps: int) -> Iterator[float]:
    while True:
        yield from compute.draw(random, num_steps, (BLOCK,)).tolist()


def _others(random: np.random.Generator, num_workers: int) -> Iterator[int]:
    while True:
        yield from random.integers(num_workers - 1, size=BLOCK).tolist()


def _shares(random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from random.random(BLOCK).tolist()


def _number(item: tuple[int, tuple[int, int]]) -> int:
    return item[1][0]
