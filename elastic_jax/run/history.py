"""What was measured in a run: in memory, and as a table in which every row stands for itself.

The file is a CSV with the columns step, seed, metric, entry, value: one number a row, written with as many digits as
identify it. It is only ever appended to, so that a process that dies costs at most its last line; a run that resumes
drops what comes after its checkpoint.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np

from elastic_jax.base import PyTree
from elastic_jax.metrics import Metric, Total

COLUMNS = ["step", "seed", "metric", "entry", "value"]


class History:
    """Measurements by metric; `path` keeps them in a file too."""

    def __init__(
        self,
        metrics: tuple[tuple[str, Metric], ...],
        values: dict[str, PyTree],
        *,
        num_seeds: int | None,
        path: Path | None,
    ) -> None:
        """Empty; `values` is {metric: tree of shapes of one measurement of one seed}."""
        self._metrics = dict(metrics)
        total = jax.ShapeDtypeStruct((), np.dtype(np.float64))
        self._shapes = {name: total if isinstance(metric.measure, Total) else values[name] for name, metric in metrics}
        self.num_seeds = num_seeds
        self._path = path
        self._steps: dict[str, list[np.ndarray]] = {name: [] for name in self._metrics}
        self._values: dict[str, list[list[np.ndarray]]] = {name: [] for name in self._metrics}
        self._unwritten: list[tuple[str, np.ndarray, list[np.ndarray]]] = []

    def append(self, name: str, steps: np.ndarray, rows: PyTree) -> None:
        """Measurements of one metric at `steps` int64[m]: a tree of [m, ...], with seeds [m, S, ...]."""
        if not len(steps):
            return
        if isinstance(self._metrics[name].measure, Total):
            rows = self._accumulated(name, rows)
        leaves = [np.array(leaf) for leaf in jax.tree.leaves(rows)]
        self._steps[name].append(np.asarray(steps, np.int64))
        self._values[name].append(leaves)
        self._unwritten.append((name, steps, leaves))

    def flush(self) -> None:
        """Bring what is new to the file, and the file to the disk."""
        if self._path is None:
            return
        is_new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(COLUMNS)
            for name, steps, leaves in self._unwritten:
                writer.writerows(self._table(name, steps, leaves))
            file.flush()
            os.fsync(file.fileno())
        self._unwritten.clear()

    def load(self, done: int, last: int) -> None:
        """Read the file back up to step `done` - 1, and drop the rest of it.

        A row that was measured only because its step was the last one is dropped too, unless it is `last` again.
        """
        if self._path is None or not self._path.exists():
            return
        with self._path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in list(csv.reader(file))[1:] if self._is_kept(row, done, last)]
        draft = self._path.with_suffix(".tmp")
        with draft.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        for name in self._metrics:
            self._restore(name, rows)

    def read(self) -> dict[str, tuple[np.ndarray, PyTree]]:
        """{metric: (steps int64[m], tree of [m, ...])}, with seeds [S, m, ...]."""
        return {name: (self._all_steps(name), self._tree(name)) for name in self._metrics}

    def _accumulated(self, name: str, pairs: Any) -> np.ndarray:
        """Running totals, float64[m] or [m, S], from what was added since the measurement before."""
        added: np.ndarray = np.add(*(np.asarray(part, np.float64) for part in pairs))
        if self._values[name]:
            added[0] += self._values[name][-1][0][-1]
        return np.cumsum(added, axis=0)

    def _table(self, name: str, steps: np.ndarray, leaves: list[np.ndarray]) -> Iterator[list[str]]:
        """Rows of the file: by step, then by seed, then by leaf and entry."""
        labels = self._labels(name)
        for row, at in enumerate(steps):
            for seed in range(self.num_seeds or 1):
                for label, leaf in zip(labels, leaves, strict=True):
                    value = leaf[row] if self.num_seeds is None else leaf[row, seed]
                    value = value.astype(np.int8) if value.dtype == bool else value
                    for index, number in enumerate(value.reshape(-1).tolist()):
                        yield [str(int(at)), str(seed), label, str(index), repr(number)]

    def _is_kept(self, row: list[str], done: int, last: int) -> bool:
        if len(row) != len(COLUMNS):
            return False
        at, every = int(row[0]), self._metrics[row[2].partition(".")[0]].every
        return at < done and (at % every == 0 or at == last)

    def _restore(self, name: str, rows: list[list[str]]) -> None:
        leaves = []
        for label, shape in zip(self._labels(name), jax.tree.leaves(self._shapes[name]), strict=True):
            mine = [row for row in rows if row[2] == label]
            lead = () if self.num_seeds is None else (self.num_seeds,)
            entries = list(product(range(self.num_seeds or 1), range(int(np.prod(shape.shape)))))
            steps = np.array([int(row[0]) for row in mine[:: max(1, len(entries))]], np.int64)
            parse = int if shape.dtype.kind in "iub" else float
            flat = np.array([parse(row[4]) for row in mine]).astype(shape.dtype)
            leaves.append(flat.reshape(len(steps), *lead, *shape.shape))
        if leaves and len(steps):
            self._steps[name] = [steps]
            self._values[name] = [leaves]

    def _labels(self, name: str) -> list[str]:
        """One name for each leaf: the metric's, or 'evaluate.test_accuracy' where it measures a tree."""
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(self._shapes[name])[0]]
        keys = [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]
        return [f"{name}.{key}" if key else name for key in keys]

    def _all_steps(self, name: str) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *self._steps[name]])

    def _tree(self, name: str) -> PyTree:
        leaves = []
        for position, shape in enumerate(jax.tree.leaves(self._shapes[name])):
            lead = () if self.num_seeds is None else (self.num_seeds,)
            empty = np.empty((0, *lead, *shape.shape), shape.dtype)
            leaf = np.concatenate([empty, *(values[position] for values in self._values[name])])
            leaves.append(leaf if self.num_seeds is None else np.moveaxis(leaf, 1, 0))
        return jax.tree.unflatten(jax.tree.structure(self._shapes[name]), leaves)
