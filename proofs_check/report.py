"""Runs statements, and tells what came of them: a table, a JSON file, an exit status."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from rich.table import Table

import proofs_check
from proofs_check import record
from proofs_check.record import Check

CAPTION = """\
closest call: how near the worst step of all settings came to a violation. "4e-06 of rounding": both sides of an
equality differ by this fraction of what rounding in float64 explains. "0.4 of its band": so do two means, by this
fraction of what statistical error explains. "0.48 of bound": measured / claimed at that step;
at 1 the bound is attained. A setting is skipped where a hypothesis of the statement fails, and vacuous where the
comparison could not fail. --json has every hypothesis, both sides and the reasons."""


def prove(ids: Iterable[str] | None = None) -> list[Check]:
    """The records of the statements `ids`, all for None, each with whether its planted bugs were noticed.

    Args:
        ids: such as ["EC:I2", "EC:T2.1"]; an unknown one is a `ValueError` that proposes the closest.
    """
    chosen = proofs_check.statements() if ids is None else {id: proofs_check.statement(id) for id in ids}
    return [check for module in chosen.values() for check in _prove_one(module)]


def is_proved(checks: Sequence[Check]) -> bool:
    """Nothing violated, every planted bug noticed, and every statement held in at least one setting."""
    held = {check.id for check in checks if check.verdict == "holds"}
    return (
        bool(checks)
        and all(check.verdict != "violated" and check.control_tripped is not False for check in checks)
        and held == {check.id for check in checks}
    )


def exit_status(checks: Sequence[Check]) -> int:
    """0 if `is_proved`, else 1."""
    return 0 if is_proved(checks) else 1


def as_json(checks: Sequence[Check]) -> str:
    """{"statements": [...]}, one entry for each record."""
    return json.dumps({"statements": [record.as_json(check) for check in checks]}, indent=1, ensure_ascii=False)


def write_json(checks: Sequence[Check], path: Path) -> None:
    """`as_json` in a file; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_json(checks) + "\n", encoding="utf-8")


def table(checks: Sequence[Check], *, is_full: bool = False) -> Table:
    """A table with a row for each form of each statement, or for each record; its caption says how to read it.

    Args:
        checks: what `prove` returned.
        is_full: a row for each setting too.
    """
    found = Table(title="Statements of the theory, measured", caption=CAPTION, caption_justify="left")
    for heading in ("id", "form", "kind", "settings", "verdict", "closest call", "where", "planted bugs"):
        found.add_column(heading)
    groups: dict[tuple[str, ...], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.id, check.name, check.kind, check.setting if is_full else ""), []).append(check)
    for (id, name, kind, _), members in groups.items():
        found.add_row(id, name, kind, *_row(members))
    return found


def _row(members: Sequence[Check]) -> tuple[str, ...]:
    """Settings, verdicts, the tightest ratio, its place, and whether the planted bugs were noticed."""
    verdicts = Counter(check.verdict for check in members)
    rated = [check for check in members if check.ratio is not None]
    tightest = max(rated, key=_ratio, default=None)
    noticed = {check.control_tripped for check in members}
    return (
        members[0].setting if len(members) == 1 else str(len(members)),
        ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in record.VERDICTS if verdicts[verdict]),
        "" if tightest is None else _closeness(tightest),
        "" if tightest is None else "; ".join(filter(None, (tightest.setting, tightest.where))),
        "not tried" if noticed == {None} else "noticed" if noticed == {True} else "MISSED",
    )


def _closeness(check: Check) -> str:
    """The ratio of a record, with what it is a fraction of."""
    if check.kind == "equality" and check.slack is not None:
        return f"{_ratio(check):.2g} of its band"
    if check.kind == "equality":
        return f"{_ratio(check):.0e} of rounding"
    return "attained" if math.isclose(_ratio(check), 1, rel_tol=1e-9) else f"{_ratio(check):.3g} of bound"


def _ratio(check: Check) -> float:
    assert check.ratio is not None
    return check.ratio


def _prove_one(module: ModuleType) -> list[Check]:
    controls = module.control()
    noticed = bool(controls) and all(control.control_tripped for control in controls)
    return [check._replace(control_tripped=noticed) for check in module.check()]
