"""The host's side of a run: chunks of the right length, and what happens between them.

A *lane* is one core of the compiled loop: a run without seeds, or all seeds at once, or one seed of many. All lanes
share one program and are at the same step after every chunk.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import devices
from elastic_jax.base import Params, PyTree
from elastic_jax.metrics import Running
from elastic_jax.run import buffers, chunks
from elastic_jax.run.chunks import Core
from elastic_jax.run.feed import Feed
from elastic_jax.run.history import History
from elastic_jax.run.program import Program, Shapes

CHUNK_SECONDS = 0.3
"""How long a chunk should take: short enough to stop at, long enough for the host to cost nothing."""
MAX_GROWTH = 16
"""How many times longer a chunk may be than the one before it."""
NUM_AHEAD = 2
"""How many host-fed steps may be under way: one runs, and the next has its batch."""


class Divergence(NamedTuple):
    """Where the first loss was that is not finite."""

    step: int
    worker: int
    seed: int | None


@dataclass
class Lane:
    """One core with its keys and buffers; they are donated to every chunk and replaced."""

    keys: Array
    core: Core
    buffers: dict[str, PyTree]


@dataclass
class Loop:
    """A run in progress."""

    program: Program
    lanes: list[Lane]
    feed: Feed
    history: History
    num_steps: int
    """T: where the run ends."""
    done: int
    """Steps taken."""
    chunk: int | None
    may_stop: bool = True
    """Whether a loss that is not finite stops the run; else none is looked at."""
    divergence: Divergence | None = None
    seconds_per_step: float = field(default=0.0, init=False)
    last_length: int = field(default=0, init=False)
    drained: int = field(init=False)

    def __post_init__(self) -> None:
        self.drained = self.done

    def compile(self) -> float:
        """Compile, by a chunk of no steps; the seconds it took."""
        start = time.perf_counter()
        for lane in self.lanes:
            jax.block_until_ready(self._advance(lane, self.done))
        if self.may_stop and not self.program.is_checked:
            self._first_bad(self.lanes[0])
        return time.perf_counter() - start

    def cores(self) -> list[Core]:
        """What is saved of a run: everything that the next step needs, when all that was measured is drained."""
        return [lane.core for lane in self.lanes]

    def go_to(self, done: int, cores: list[Core]) -> None:
        """Go on from what was saved after step `done` - 1."""
        for lane, core in zip(self.lanes, cores, strict=True):
            lane.core = core
        self.done = self.drained = done
        if self.feed.is_host_fed and done < self.num_steps:
            self.feed.proceed(done)

    def proceed(self, limit: int) -> None:
        """One chunk, at most up to step `limit`; then `done`, `divergence` and the history are up to date."""
        end = min(limit, self.num_steps, self.done + self._length(), self._room())
        start = time.perf_counter()
        begin, self.last_length = self.done, end - self.done
        if self.feed.is_host_fed:
            self._feed_to(end)
        elif self.program.is_checked or not self.may_stop:
            jax.block_until_ready([self._advance(lane, end) for lane in self.lanes])
        else:
            self._advance_and_look(end)
        if self.program.is_checked and self.may_stop:
            self._look_where_stopped()
        self.done = end if self.divergence is None else self.divergence.step + 1
        self.seconds_per_step = (time.perf_counter() - start) / max(1, self.done - begin)

    def drain(self) -> None:
        """Hand what was measured since the last time to the history."""
        begin, end = self.drained, self.done
        for name, metric in self.program.metrics:
            first = buffers.num_rows(metric.every, 0, begin) * metric.every
            steps = np.arange(first, end, metric.every, dtype=np.int64)
            last = self.num_steps - 1
            if begin <= last < end and last % metric.every:
                steps = np.append(steps, last)
            rows = [jax.tree.map(partial(_rows, num=len(steps)), lane.buffers[name]) for lane in self.lanes]
            stack = rows[0] if len(rows) == 1 and not self._is_looped() else jax.tree.map(_stack_seeds, *rows)
            self.history.append(name, steps, stack)
        self.drained = end

    def carried(self) -> dict[str, PyTree]:
        """{metric: what it carries now}, of the running ones; with seeds [S, ...]."""
        found = {}
        for name, metric in self.program.metrics:
            if isinstance(metric.measure, Running):
                lanes = [jax.tree.map(np.asarray, lane.core.totals[name]) for lane in self.lanes]
                found[name] = jax.tree.map(_stack_lanes, *lanes) if self._is_looped() else lanes[0]
        return found

    def _is_looped(self) -> bool:
        return self.history.num_seeds is not None and not self.program.is_batched

    def _length(self) -> int:
        """Steps of the next chunk: by the time the last one took, growing step by step from 1."""
        if self.chunk is not None:
            return self.chunk
        if not self.last_length:
            return 1
        affordable = int(CHUNK_SECONDS / max(self.seconds_per_step, 1e-9))
        return max(1, min(affordable, MAX_GROWTH * self.last_length))

    def _room(self) -> int:
        return buffers.furthest(self.program.metrics, self.lanes[0].buffers, self.drained)

    def _advance(self, lane: Lane, end: int) -> Array:
        """Start the steps of one lane up to `end`; what to wait for."""
        lane.core, lane.buffers, num_steps = chunks.compiled(self.program)(
            lane.core,
            lane.buffers,
            lane.keys,
            self.feed.data,
            np.int32(self.drained),
            np.int32(end),
            np.int32(self.num_steps - 1),
            np.bool_(self.may_stop),
        )
        return num_steps

    def _feed_to(self, end: int) -> None:
        """One step a batch; while it runs, the next batch is fetched."""
        under_way: deque[list[Array]] = deque()
        for step in range(self.done, end):
            under_way.append([self._advance(lane, step + 1) for lane in self.lanes])
            if step + 1 < self.num_steps:
                self.feed.proceed()
            if len(under_way) > NUM_AHEAD:
                jax.block_until_ready(under_way.popleft())
        jax.block_until_ready(list(under_way))

    def _look_where_stopped(self) -> None:
        """The earliest of the lanes whose last step had a loss that is not finite."""
        for number, lane in enumerate(self.lanes):
            bad = _bad(lane.core.losses, lane.core.workers)
            if bad is not None:
                self._note(int(lane.core.num_steps) - 1, bad, number)

    def _advance_and_look(self, end: int) -> None:
        """Compute a chunk without losses, look at those of the step after it, and bisect if they are not finite."""
        starts = [_copy(lane.core) for lane in self.lanes]
        jax.block_until_ready([self._advance(lane, end) for lane in self.lanes])
        for number, (lane, start) in enumerate(zip(self.lanes, starts, strict=True)):
            if self._first_bad(lane) is not None:
                self._bisect(number, start, end)
        if self.divergence is not None:
            for lane, start in zip(self.lanes, starts, strict=True):
                lane.core = start
                jax.block_until_ready(self._advance(lane, self.divergence.step + 1))

    def _bisect(self, number: int, start: Core, end: int) -> None:
        """Find the first step with a loss that is not finite, after `start` and at most `end`."""
        lane = Lane(self.lanes[number].keys, _copy(start), self.lanes[number].buffers)
        good, low, high = start, self.done, end
        bad = self._first_bad(lane)
        if bad is not None:
            high = low
        while high - low > 1:
            middle = (low + high) // 2
            lane.core = _copy(good)
            self._advance(lane, middle)
            if self._first_bad(lane) is None:
                good, low = lane.core, middle
            else:
                high = middle
        lane.core = _copy(good)
        self._advance(lane, high)
        bad = self._first_bad(lane)
        self.lanes[number].buffers = lane.buffers
        if bad is not None and high < self.num_steps:
            self._note(high, bad, number)

    def _first_bad(self, lane: Lane) -> tuple[int, int] | None:
        return _bad(*chunks.compiled_probe(self.program)(lane.keys, lane.core, self.feed.data))

    def _note(self, step: int, bad: tuple[int, int], lane: int) -> None:
        seed = None if self.history.num_seeds is None else bad[0] if self.program.is_batched else lane
        if self.divergence is None or step < self.divergence.step:
            self.divergence = Divergence(step, bad[1], seed)


def start_lane(program: Program, given: Shapes, keys: Array, init_keys: Array, params: Params) -> Lane:
    """A lane before its first step."""
    init = program.algorithm.init
    state = jax.jit(jax.vmap(init, (0, None)))(init_keys, params) if program.is_batched else init(init_keys, params)
    core, rows = chunks.start(program, given, state)
    if program.mesh is not None:
        core, rows = devices.place(core, program.mesh), devices.place(rows, program.mesh)
        keys = devices.replicate(keys, program.mesh)
    return Lane(keys, core, rows)


@jax.jit
def _copy(core: Core) -> Core:
    return jax.tree.map(jnp.copy, core)


def _bad(losses: Any, workers: Any) -> tuple[int, int] | None:
    """(seed, worker) of the first loss that is not finite; None if all are."""
    is_bad = ~np.isfinite(np.asarray(losses))
    if not is_bad.any():
        return None
    index = np.argwhere(is_bad)[0]
    return int(index[0]), int(np.asarray(workers)[tuple(index)])


def _rows(buffer: Array, num: int) -> np.ndarray:
    """The first rows, in memory of their own: the buffer will be donated."""
    return np.array(np.asarray(buffer)[:num])


def _stack_lanes(*values: np.ndarray) -> np.ndarray:
    return np.stack(values)


def _stack_seeds(*rows: np.ndarray) -> np.ndarray:
    return np.stack(rows, axis=1)
