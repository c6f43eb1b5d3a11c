"""What came of the checks of a run: one verdict each, as a table and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from proofs_check.live import rounding
from proofs_check.live.carried import Record
from proofs_check.live.chosen import Check

CAPTION = f"""\
An equality is judged by its residual: 1 is what rounding explains, ({rounding.ALLOWANCE} + 2 · terms of its sums) · eps
· the largest magnitude in a leaf of x, the state and the updates; eps is 1.2e-07 in float32. A sum that is kept from
the start may be off by what all its steps have added. An inequality is judged by measured / claimed. Above 1 is
violated; what is skipped is not checked."""


class Verdict(NamedTuple):
    """What came of one check in a run, or in the worst of its seeds."""

    id: str
    what: str
    num_steps: int
    """Steps checked."""
    worst: float | None
    """The largest ratio: above 1 is violated."""
    worst_step: int | None
    first_violated: int | None
    """The first step that violated it."""
    verdict: str
    """holds, violated, vacuous (nothing could have failed) or skipped."""
    reason: str = ""


def verdict(check: Check, record: Record | None) -> Verdict:
    """Of one run, or of many: the worst ratio, the first violation, the fewest steps; None for what is skipped."""
    if record is None:
        return Verdict(check.id, check.what, 0, None, None, None, "skipped", check.reason)
    worst, where, first, count = (np.atleast_1d(np.asarray(part)) for part in record)
    if not count.any():
        return Verdict(check.id, check.what, 0, None, None, None, "vacuous", "both sides are zero, or not finite")
    at = int(np.argmax(np.where(np.isnan(worst), np.inf, worst)))
    violated = first[first >= 0]
    return Verdict(
        id=check.id,
        what=check.what,
        num_steps=int(count.min()),
        worst=float(worst[at]),
        worst_step=int(where[at]),
        first_violated=int(violated.min()) if violated.size else None,
        verdict="violated" if violated.size else "holds",
    )


def told(found: Verdict) -> str:
    """One line about what is violated."""
    many = "" if found.worst is None else f"; its worst ratio so far is {found.worst:.3g}, at step {found.worst_step}"
    return f"{found.id} is violated at step {found.first_violated}: {found.what}{many}"


def table(found: Sequence[Verdict]) -> Table:
    """A row for each check."""
    made = Table(title="Checked at every step of this run", caption=CAPTION, caption_justify="left")
    for heading in ("id", "what", "steps", "worst", "at step", "verdict"):
        made.add_column(heading)
    for one in found:
        worst = "" if one.worst is None else f"{one.worst:.3g}"
        where = "" if one.worst_step is None else str(one.worst_step)
        text = f"{one.verdict}: {one.reason}" if one.reason else one.verdict
        if one.first_violated is not None:
            text += f" from step {one.first_violated} on"
        made.add_row(one.id, one.what, str(one.num_steps), worst, where, text)
    return made


def as_json(found: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Plain data; a ratio that is not finite is None."""
    return [
        one._asdict() | {"worst": one.worst if one.worst is not None and math.isfinite(one.worst) else None}
        for one in found
    ]


def exit_status(found: Sequence[Verdict]) -> int:
    """1 if anything is violated, or nothing was checked; else 0."""
    all_verdicts = {one.verdict for one in found}
    return 1 if "violated" in all_verdicts or "holds" not in all_verdicts else 0
