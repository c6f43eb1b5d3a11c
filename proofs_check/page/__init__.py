"""All that was proved, as one page to read: no script, nothing loaded from elsewhere.

First what the papers promise, each with what was measured against it; then every statement with its text, its
hypotheses, the bugs planted for it, and measured / claimed against the step.
"""

from __future__ import annotations

import datetime
import os
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import proofs_check
from elastic_jax import provenance
from proofs_check import record
from proofs_check.page import articles, plots, systems
from proofs_check.page.words import badge, status
from proofs_check.report import Outcome
from proofs_check.tables import TABLES

TEMPLATE = Path(__file__).with_name("template.html")
REPOSITORY = Path(__file__).parents[2]


def write(outcomes: Sequence[Outcome], path: Path, *, seconds: float) -> None:
    """`render` in a file; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(outcomes, seconds=seconds, folder=path.resolve().parent), encoding="utf-8")


def render(outcomes: Sequence[Outcome], *, seconds: float, folder: Path = REPOSITORY) -> str:
    """The page.

    Args:
        outcomes: of `report.outcome`, one for each statement.
        seconds: that they took.
        folder: where the page will lie. Links to the code are relative to it inside the repository, and relative to the
            repository elsewhere.
    """
    found = {outcome.id: outcome for outcome in outcomes}
    is_inside = folder != REPOSITORY and folder.is_relative_to(REPOSITORY)
    prefix = Path(os.path.relpath(REPOSITORY, folder)).as_posix() + "/" if is_inside else ""
    families = {
        family: [found[id] for id in sorted(members, key=_in_order) if id in found]
        for family, members in proofs_check.families().items()
    }
    chosen = {family: members for family, members in families.items() if members}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        verdict=_verdict(outcomes),
        facts=_facts(outcomes, seconds),
        origin=_origin(),
        tables="".join(systems.section(table, found, prefix) for table in TABLES),
        loose=plots.LOOSE,
        contents="".join(articles.contents(family, members) for family, members in chosen.items()),
        articles="".join(
            f"<h2>{escape(family.capitalize())}</h2>"
            + "".join(articles.article(each, found, prefix) for each in members)
            for family, members in chosen.items()
        ),
    )


def _verdict(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(status(outcome) for outcome in outcomes)
    parts = [f"{counts[name]} {badge(name)}" for name in ("violated", "untested", "holds") if counts[name]]
    told = f"{len(outcomes)} statements about distributed SGD, checked at every step of every run"
    return f"{told}: {', &ensp;'.join(parts)}"


def _facts(outcomes: Sequence[Outcome], seconds: float) -> str:
    verdicts = Counter(check.verdict for outcome in outcomes for check in outcome.checks)
    bugs = [control for outcome in outcomes for control in outcome.controls]
    noticed = sum(control.control_tripped is True for control in bugs)
    told = {f"records: {verdict}": f"{verdicts[verdict]:,}" for verdict in record.VERDICTS}
    told |= {"planted bugs noticed": f"{noticed} of {len(bugs)}" if bugs else "not tried"}
    told |= {"time taken": _duration(seconds)}
    tiles = (
        f'<li class="tile"><b>{value}</b><span class="soft small">{name}</span></li>' for name, value in told.items()
    )
    return "".join(tiles)


def _origin() -> str:
    told = {
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions().items()),
    }
    return "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in told.items())


def _in_order(id: str) -> list[tuple[int, str]]:
    """EC:I2 before EC:I10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", id)]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
