"""The person at the terminal: a progress bar for what takes longer than a moment, and Ctrl-C that loses nothing."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PATIENCE = 2.0
"""Seconds before a bar appears."""
PAGE = 160
"""Characters of a line where there is no terminal."""


def page() -> Console:
    """Where tables are printed: as wide as the terminal; in a file or a log, wide enough for their rows."""
    return Console(width=None if Console().is_terminal else PAGE)


class Bar:
    """A bar with steps, steps per second and the time that remains; a context. Silent unless at a terminal."""

    def __init__(self, num_steps: int, done: int, *, is_shown: bool) -> None:
        """For a run of `num_steps` of which `done` are taken already."""
        console = Console(stderr=True)
        self._num_steps = num_steps
        self._progress = Progress(
            TextColumn("{task.completed:>9,.0f} / {task.total:,.0f} steps"),
            BarColumn(),
            TextColumn("{task.fields[pace]}"),
            console=console,
            transient=False,
        )
        self._is_shown = is_shown and console.is_terminal and sys.stderr.isatty()
        self._task = self._progress.add_task("", total=num_steps, completed=done, pace="")
        self._started_at = time.perf_counter()
        self._first: tuple[float, int] | None = None
        self._is_started = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_started:
            self._progress.stop()

    def update(self, num_steps: int) -> None:
        """`num_steps` are taken now."""
        now = time.perf_counter()
        # compiling is no part of the pace, so that it is measured from the first report on
        self._first = self._first or (now, num_steps)
        if not self._is_shown or now - self._started_at < PATIENCE:
            return
        if not self._is_started:
            self._progress.start()
            self._is_started = True
        self._progress.update(self._task, completed=num_steps, pace=pace(*self._first, now, num_steps, self._num_steps))


def pace(first_time: float, first_steps: int, now: float, num_steps: int, total: int) -> str:
    """Steps per second since the first report, the time gone by and the time that remains, as people read them.

    Args:
        first_time: when the first report came, seconds.
        first_steps: steps taken by then.
        now: the time now, seconds.
        num_steps: steps taken by now.
        total: steps of the whole run.
    """
    if num_steps == first_steps:
        return ""
    rate = (num_steps - first_steps) / (now - first_time)
    elapsed, left = (timedelta(seconds=round(seconds)) for seconds in (now - first_time, (total - num_steps) / rate))
    return f"{rate:,.4g} steps/s, {elapsed} gone, {left} left"


class Interrupts:
    """Whether somebody has asked to stop."""

    name: str | None = None
    """The name of the signal, e.g. 'SIGINT'; None as long as nobody has."""


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Ctrl-C and SIGTERM are noted instead of raised; the second one is raised as ever. Main thread only."""
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    old: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        found.name = signal.Signals(number).name
        for one, handler in old.items():
            signal.signal(one, handler)

    for one in (signal.SIGINT, signal.SIGTERM):
        old[one] = signal.signal(one, note)
    try:
        yield found
    finally:
        for one, handler in old.items():
            signal.signal(one, handler)
