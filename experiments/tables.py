"""One table, three forms: CSV for programs, Markdown for the page, rich text for the terminal."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments.bands import Band


def save_csv(path: Path, headings: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Numbers to six digits, which is more than seeds can tell; None and NaN are empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows([[_cell(value) for value in line] for line in lines])


def as_markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    rows = [headings, ["---"] + ["---:"] * (len(headings) - 1), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in rows)


def as_table(headings: Sequence[str], lines: Iterable[Sequence[str]], *, title: str, caption: str) -> Table:
    """The table that people read at the terminal."""
    table = Table(title=title, caption=caption)
    for heading in headings:
        table.add_column(heading, justify="right" if heading != headings[0] else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def with_band(band: Band) -> str:
    """The estimate and its band: 1.02 [0.98, 1.06]; the estimate alone if there is no band."""
    if np.isnan(band.low) and not np.isnan(band.middle):
        return f"{float(band.middle):.3g}"
    return f"{float(band.middle):.3g} [{float(band.low):.3g}, {float(band.high):.3g}]"


def _cell(value: Any) -> Any:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
