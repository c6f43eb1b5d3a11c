"""Lines that a machine wrote down: tables with headings, read with errors that name the line."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path


def read_lines(
    path: Path, columns: tuple[str, ...], *, optional: str | None = None
) -> list[tuple[int, tuple[str, ...]]]:
    """(number of the line, its cells of these columns, and of `optional` if it is there), after the headings."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            missing = [column for column in columns if column not in names]
            if missing:
                raise ValueError(f"{path}, line 1: the headings {names} lack {missing[0]!r}; they must have {columns}")
            wanted = (*columns, optional) if optional in names else columns
            lines = [(reader.line_num, tuple(line[column] or "" for column in wanted)) for line in reader]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; it must be a file with the columns {columns}") from None
    if not lines:
        raise ValueError(f"{path} has no lines after the headings; it must have one at least")
    return lines


def as_worker(path: str | os.PathLike[str], number: int, cell: str, num_workers: int | None) -> int:
    """The number of a worker, in [0, num_workers)."""
    valid = "an integer >= 0" if num_workers is None else f"an integer in [0, {num_workers - 1}]"
    try:
        worker = int(cell)
    except ValueError:
        raise ValueError(f"{path}, line {number}: worker = {cell!r}; it must be {valid}") from None
    if worker < 0 or (num_workers is not None and worker >= num_workers):
        raise ValueError(f"{path}, line {number}: worker = {worker} is unknown; it must be {valid}")
    return worker


def as_seconds(
    path: str | os.PathLike[str], number: int, cell: str, *, low: float = 0.0, above: float | None = None
) -> float:
    """A finite number >= `low`, and > `above`."""
    try:
        seconds = float(cell)
    except ValueError:
        seconds = float("nan")
    if not (math.isfinite(seconds) and seconds >= low and (above is None or seconds > above)):
        valid = f">= {low:g}" if above is None else f"> {above:g}"
        raise ValueError(f"{path}, line {number}: seconds = {cell!r}; it must be a finite number {valid}")
    return seconds


def as_step(path: str | os.PathLike[str], number: int, cell: str, last: int) -> int:
    """The number of an update, in [0, last]."""
    try:
        step = int(cell)
    except ValueError:
        step = -1
    if not 0 <= step <= last:
        raise ValueError(f"{path}, line {number}: read = {cell!r}; it must be an integer in [0, {last}]")
    return step
