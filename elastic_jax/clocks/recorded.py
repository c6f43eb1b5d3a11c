"""Times that were measured: each worker has its own, in their order."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments, traces
from elastic_jax.clocks.clock import Clock

COLUMNS = ("worker", "seconds")


def recorded(times: Any) -> Clock:
    """Replays compute times, each worker from its first one again after its last.

    Args:
        times: for each worker the seconds, > 0, of its gradients: float[n, m], or lists of lengths of their own.
    """
    rows = _by_worker(times)
    lengths = np.array([len(row) for row in rows], np.int32)
    table = np.zeros((len(rows), int(lengths.max())), np.float32)
    for row, own in zip(table, rows, strict=True):
        row[: len(own)] = own
    return Clock(
        draw=partial(_recorded, table=table, lengths=lengths),
        means=partial(_means, rows=tuple(rows)),
        survival=None,
        known_mean_of_kth=None,
        order=None,
        is_new_longer=None,
        is_new_shorter=None,
        num_workers=len(rows),
    )


def from_csv(path: str | os.PathLike[str], *, num_workers: int | None = None) -> Clock:
    """Times from a file: a line for each gradient, with the columns `worker` (0, 1, ...) and `seconds` that it took.

    Lines of one worker are in the order of its gradients; of several in any. Other columns are not read.

    Args:
        path: the file, with a line of headings.
        num_workers: n; None: as many as the file has.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is wrong, naming it, or a worker without gradients.
    """
    if num_workers is not None:
        num_workers = arguments.integer("num_workers", num_workers, low=1)
    found: dict[int, list[float]] = {}
    lines = traces.read_lines(Path(path), COLUMNS)
    for number, (worker, seconds) in lines:
        who = traces.as_worker(path, number, worker, num_workers)
        found.setdefault(who, []).append(traces.as_seconds(path, number, seconds, above=0.0))
    n = max(found) + 1 if num_workers is None else num_workers
    missing = [worker for worker in range(n) if worker not in found]
    if missing:
        raise ValueError(f"{path} has no line of worker {missing[0]}; it must have one at least of each of {n} workers")
    return recorded([found[worker] for worker in range(n)])


def _by_worker(times: Any) -> list[np.ndarray]:
    """A float64 vector for each worker."""
    if not isinstance(times, (list, tuple, np.ndarray)) or not len(times):
        raise ValueError(f"times = {arguments.describe(times)}; it must be the seconds of one worker at least")
    rows = [arguments.array(f"times[{worker}]", own) for worker, own in enumerate(times)]
    for worker, row in enumerate(rows):
        if row.ndim != 1 or not row.size or row.dtype.kind not in "iuf" or not np.all(np.isfinite(row) & (row > 0)):
            raise ValueError(
                f"times[{worker}] = {arguments.describe(row)}; it must be finite numbers > 0, one at least"
            )
    return [row.astype(np.float64) for row in rows]


def _recorded(key: Array, workers: Array, numbers: Array, *, table: np.ndarray, lengths: np.ndarray) -> Array:
    del key
    places = numbers % jnp.asarray(lengths).at[workers].get(mode="clip")
    return jnp.asarray(table).at[workers, places].get(mode="fill")


def _means(num_workers: int, *, rows: tuple[np.ndarray, ...]) -> np.ndarray:
    del num_workers
    return np.array([row.mean() for row in rows])
