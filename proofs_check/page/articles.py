"""One statement: its text, what was measured, the planted bugs, the hypotheses, and what was left out and why."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import proofs_check
from proofs_check import record, report
from proofs_check.page import plots
from proofs_check.page.words import anchor, badge, file_of, form_status, forms, place, status
from proofs_check.record import Check
from proofs_check.report import Outcome

HEADINGS = ("Setting", "Statement", "Why", "Source")


def contents(family: str, members: Sequence[Outcome]) -> str:
    """A link to each statement, in the colour of its verdict."""
    links = "".join(
        f'<li><a class="badge {status(each)}" href="#{anchor(each.id)}">{escape(each.id)}</a></li>' for each in members
    )
    return f"<h3>{escape(family)}</h3><ul>{links}</ul>"


def article(outcome: Outcome, found: Mapping[str, Outcome], prefix: str) -> str:
    """All about one statement.

    Args:
        outcome: of the statement.
        found: {id: outcome}, which its text may link to.
        prefix: of links to the code.
    """
    module = proofs_check.statement(outcome.id)
    title, parts = sections(inspect.cleandoc(module.__doc__ or ""))
    file = file_of(module.__name__)
    return (
        f'<article id="{anchor(outcome.id)}"><div class="head"><h3>{escape(title)}</h3>{badge(status(outcome))}</div>'
        f'<a class="small" href="{prefix}{file}"><code>{file}</code></a>'
        f'<div class="text">{"".join(_section(each, found) for each in parts)}</div>'
        f'<h4>Measured</h4><div class="figures">{"".join(map(_figure, forms(outcome.checks).values()))}</div>'
        f"{_bugs(outcome.controls)}{_hypotheses(outcome.checks)}{_left_out(outcome.checks)}</article>"
    )


class Section(NamedTuple):
    """A part of a docstring."""

    heading: str
    """One of `HEADINGS`."""
    tail: str
    """What stands behind it in its line, such as "(EC:I7, equality)"."""
    body: str
    """What stands under it, dedented."""


def sections(text: str) -> tuple[str, list[Section]]:
    """The first line of a statement's docstring, and its parts."""
    title, _, rest = text.partition("\n")
    pieces = re.split(rf"^({'|'.join(HEADINGS)})\b(.*)$", rest, flags=re.MULTILINE)[1:]
    found = [
        Section(heading, tail.strip(), inspect.cleandoc(body).strip("\n"))
        for heading, tail, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True)
    ]
    return title.rstrip("."), found


def _section(section: Section, found: Mapping[str, Outcome]) -> str:
    tail = f' <span class="tail">{escape(section.tail)}</span>' if section.tail else ""
    heading, linked = f"<h4>{section.heading}{tail}</h4>", _linked(escape(section.body), found)
    if section.heading == "Statement":
        return f'<div class="wide">{heading}<pre>{linked}</pre></div>'
    paragraphs = "".join(f"<p>{each}</p>" for each in linked.split("\n\n"))
    wide = ' class="wide"' if section.heading == "Setting" else ""
    return f'<div{wide}>{heading}<div class="small">{paragraphs}</div></div>'


def _linked(text: str, found: Mapping[str, Outcome]) -> str:
    """Numbers of other statements as links to them, and `words` as code."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)

    def link(match: re.Match[str]) -> str:
        id = match[0].replace("&#x27;", "'")
        return f'<a href="#{anchor(id)}">{match[0]}</a>' if id in found else match[0]

    return re.sub(r"[A-Z]{2}:[A-Z]+[0-9]+(?:\.[0-9]+)?(?:&#x27;)?", link, text)


def _figure(members: Sequence[Check]) -> str:
    """A form of the statement, with its plot."""
    verdicts = Counter(check.verdict for check in members)
    counted = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in record.VERDICTS if verdicts[verdict])
    tightest, state = report.closest(members), form_status(members)
    told = "" if tightest is None else f"<br>{escape(report.closeness(tightest))}: {place(tightest)}"
    mark = "" if state == "holds" else f" {badge(state)}"
    return (
        f'<figure><figcaption><b>{escape(members[0].name)}</b> <span class="badge kind">{members[0].kind}</span>{mark}'
        f'<br><span class="soft">{counted}{told}</span></figcaption>{plots.ratios(members)}</figure>'
    )


def _bugs(controls: Sequence[Check]) -> str:
    items = "".join(
        f"<li>{escape(control.setting.removeprefix('planted: '))} "
        f"{badge('holds', 'noticed') if control.control_tripped else badge('violated', 'MISSED')}</li>"
        for control in controls
    )
    return f'<h4>Planted bugs</h4><ul class="bugs small">{items or "<li>none was tried</li>"}</ul>'


def _hypotheses(checks: Sequence[Check]) -> str:
    """What is assumed, and in how many records it is so."""
    tried = Counter(each.name for check in checks for each in check.hypotheses)
    holds = Counter(each.name for check in checks for each in check.hypotheses if each.holds)
    if not tried:
        return ""
    items = "".join(f"<li>{escape(name)}: so in {holds[name]} of {number}</li>" for name, number in tried.items())
    return f"<details><summary>{len(tried)} hypotheses</summary><ul>{items}</ul></details>"


def _left_out(checks: Sequence[Check]) -> str:
    """Settings that were skipped or vacuous, by reason."""
    groups: dict[str, list[str]] = {}
    for check in checks:
        if check.verdict in ("skipped", "vacuous"):
            groups.setdefault(f"{check.verdict}: {check.reason}", []).append(f"{check.name}: {check.setting}")
    if not groups:
        return ""
    items = "".join(
        f"<li>{escape(reason)}<ul>{''.join(f'<li>{escape(each)}</li>' for each in settings)}</ul></li>"
        for reason, settings in groups.items()
    )
    number = sum(map(len, groups.values()))
    return f"<details><summary>{number} skipped or vacuous, and why</summary><ul>{items}</ul></details>"
