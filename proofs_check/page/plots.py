"""Small drawings in SVG, to stand inside the page: their colours are its own, so that light and dark are readable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from proofs_check.record import Check

WIDTH, HEIGHT = 300, 150
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 12, 26
"""Margins, where the axes are written."""

LOOSE = 0.2
"""Where no ratio is above this the axis is logarithmic: otherwise all lines lie on the ground."""
DECADES = 5
"""What a logarithmic axis shows at most."""


def ratios(checks: Sequence[Check]) -> str:
    """Measured / claimed against the step, a line for each setting; points where the statement has no steps.

    Args:
        checks: of one form; those without a ratio are left out.

    Returns:
        An <svg> of class "plot"; empty where nothing was measured.
    """
    lines = [(check, _points(check)) for check in checks]
    lines = [(check, points) for check, points in lines if points]
    if not lines:
        return ""
    has_steps = any(check.ratios for check, _ in lines)
    if not has_steps:
        lines = [(check, [(index, ratio)]) for index, (check, [(_, ratio)]) in enumerate(lines)]
    largest = max(ratio for _, points in lines for _, ratio in points)
    last = max(step for _, points in lines for step, _ in points)
    axis = _Axis(largest, max(last, 1), [ratio for _, points in lines for _, ratio in points])
    body = [axis.drawn("step t" if has_steps else "settings, one after the other")]
    body += [_line(check, points, axis) for check, points in sorted(lines, key=lambda line: max(r for _, r in line[1]))]
    label = f"measured / claimed in {len(lines)} settings; the largest is {largest:.3g}"
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        + "".join(body)
        + "</svg>"
    )


class _Axis:
    """Where a step and a ratio are on the paper."""

    def __init__(self, largest: float, last: int, values: Sequence[float]) -> None:
        """`largest` ratio, `last` step, and all ratios."""
        self.is_log = largest < LOOSE
        self.last = last
        positive = [value for value in values if value > 0]
        lowest = math.floor(math.log10(min(positive))) if positive else -1
        self.low = max(lowest, math.ceil(math.log10(max(largest, 1e-300))) - DECADES) if self.is_log else 0
        self.high = 0.0 if self.is_log else max(1.0, largest) * 1.06

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / self.last

    def y(self, ratio: float) -> float:
        if self.is_log:
            value = math.log10(ratio) if ratio > 0 else self.low
            height = (max(value, self.low) - self.low) / -self.low if self.low else 0.0
        else:
            height = max(ratio, 0.0) / self.high
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * height

    def drawn(self, label: str) -> str:
        """The axes, a few numbers, and the line at 1 that the claim allows."""
        if self.is_log:
            every = max(1, -self.low // 3)
            ticks = [(10.0**power, f"1e{power}" if power else "1") for power in range(0, self.low - 1, -every)]
        else:
            ticks = [(0, "0"), (0.5, "0.5"), (1, "1")]
        found = [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(at):.1f}" y2="{self.y(at):.1f}"/>'
            f'<text class="tick" x="{LEFT - 5}" y="{self.y(at) + 3:.1f}" text-anchor="end">{text}</text>'
            for at, text in ticks
        ]
        found.append(
            f'<line class="claim" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(1):.1f}" y2="{self.y(1):.1f}"/>'
        )
        middle, ground = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM
        for step in dict.fromkeys((0, self.last)):
            anchor = "end" if step else "start"
            found.append(
                f'<text class="tick" x="{self.x(step):.1f}" y="{ground + 12}" text-anchor="{anchor}">{step}</text>'
            )
        found.append(f'<text class="tick" x="{middle}" y="{ground + 20}" text-anchor="middle">{label}</text>')
        return "".join(found)


def _points(check: Check) -> list[tuple[int, float]]:
    """(step, ratio) where it is known; one point at 0 where there are no steps."""
    if check.ratios:
        return [(step, ratio) for step, ratio in enumerate(check.ratios) if ratio is not None]
    return [(0, check.ratio)] if check.ratio is not None and math.isfinite(check.ratio) else []


def _line(check: Check, points: Sequence[tuple[int, float]], axis: _Axis) -> str:
    kind = "violated" if check.verdict == "violated" else "exact" if check.is_exact else "sampled"
    title = f"<title>{escape(check.setting)}</title>"
    if len(points) == 1:
        step, ratio = points[0]
        return f'<circle class="dot {kind}" cx="{axis.x(step):.1f}" cy="{axis.y(ratio):.1f}" r="2.4">{title}</circle>'
    drawn = " ".join(f"{axis.x(step):.1f},{axis.y(ratio):.1f}" for step, ratio in points)
    return f'<polyline class="line {kind}" points="{drawn}">{title}</polyline>'
