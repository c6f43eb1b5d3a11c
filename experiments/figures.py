"""Figures as a paper prints them: the width of a page, type that is read there, colours that all eyes tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.bands import Band

PAGE = 7.0
"""Inches: the text of a page of two columns."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, the darkest first."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#777777"

ROOM = 0.06
"""Of a panel's width, for one digit of a tick's label."""

STYLE: Any = {
    "font.size": 7.5,
    "axes.titlesize": 7,
    "axes.labelsize": 7.5,
    "legend.fontsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.35,
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
}


@contextmanager
def paper() -> Iterator[None]:
    """Whatever is drawn and saved in here has the style of the page."""
    matplotlib.use("Agg")
    with matplotlib.rc_context(STYLE):
        yield


def panels(rows: int, columns: int, *, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the page and `height` inches high, with its axes [rows, columns]."""
    from matplotlib import pyplot as plt  # after the backend is chosen

    return plt.subplots(rows, columns, figsize=(PAGE, height), squeeze=False, constrained_layout=True, **options)


def merged(figure: Figure, axes: np.ndarray) -> Axes:
    """The panels of one row of `axes` made one."""
    whole = figure.add_subplot(axes[0].get_subplotspec().get_gridspec()[axes[0].get_subplotspec().rowspan.start, :])
    for axis in axes:
        axis.remove()
    return whole


def draw(
    axis: Axes,
    positions: np.ndarray,
    band: Band,
    *,
    color: str,
    marker: str = "",
    label: str = "",
    linestyle: str = "-",
) -> None:
    """A curve with its band shaded."""
    axis.plot(positions, band.middle, color=color, marker=marker, linestyle=linestyle, label=label or None)
    axis.fill_between(positions, band.low, band.high, color=color, alpha=0.18, linewidth=0)


def plain_ticks(axis: Axes, positions: Any) -> None:
    """A logarithmic horizontal axis with ticks at `positions` alone, as plain numbers where there is room for them."""
    ordered = np.sort(np.asarray(positions, float))[::-1]
    places = np.log(ordered / ordered[-1]) / max(np.log(ordered[0] / ordered[-1]), 1e-9)
    labelled: list[float] = []
    previous = np.inf
    for value, place in zip(ordered, places, strict=True):
        if previous - place > ROOM * len(_plain(value)):
            labelled.append(float(value))
            previous = place
    axis.set_xticks(labelled)
    axis.set_xticks([value for value in ordered.tolist() if value not in labelled], minor=True)
    axis.xaxis.set_major_formatter(FuncFormatter(_plain))
    axis.xaxis.set_minor_formatter(NullFormatter())


def plain_decades(axis: Axes, *, which: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis, "x" or "y", labelled at powers of ten, and in between where there are fewer than two."""
    scale = axis.xaxis if which == "x" else axis.yaxis
    low, high = sorted(scale.get_view_interval())
    decades = 10.0 ** np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
    ticks = decades
    for steps in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        if len(ticks) >= 2:
            break
        every = np.outer(10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1), steps).ravel()
        ticks = every[(every >= low) & (every <= high)]
    if len(ticks) > 5:
        ticks = ticks[:: -(-len(ticks) // 5)]
    scale.set_ticks(ticks)
    scale.set_major_formatter(FuncFormatter(_plain))
    scale.set_minor_formatter(NullFormatter())
    axis.tick_params(axis=which, which="minor", left=False, bottom=False)


def legend(figure: Figure, axes: np.ndarray, *, columns: int) -> None:
    """One legend below all panels, with what any of them has, once."""
    named: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=columns)


def save(figure: Figure, path: Path) -> None:
    """Writes the figure at print resolution, and closes it."""
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=200)
    plt.close(figure)


def _plain(value: float, position: int | None = None) -> str:
    del position
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    return f"$10^{{{exponent}}}$" if abs(factor - 1) < 1e-6 else f"${factor:.2g}\\cdot10^{{{exponent}}}$"
