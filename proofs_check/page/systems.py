"""The table of systems: what the paper promises, what is sharper, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from elastic_jax import algorithms
from proofs_check import paper_table, report
from proofs_check.page.words import anchor, badge, file_of, form_status, forms, place, status
from proofs_check.record import Check
from proofs_check.report import Outcome


def rows(found: Mapping[str, Outcome], prefix: str) -> str:
    """The rows of <tbody>, those of the paper's table first.

    Args:
        found: {id: outcome}.
        prefix: of links to the code.
    """
    parts = {"Table 1 of the paper": True, "Beyond the table": False}
    return "".join(
        f'<tr class="part"><th colspan="4" scope="colgroup">{title}</th></tr>'
        + "".join(_row(row, found, prefix) for row in paper_table.ROWS if bool(row.papers) is is_papers)
        for title, is_papers in parts.items()
    )


def _row(row: paper_table.Row, found: Mapping[str, Outcome], prefix: str) -> str:
    measured = []
    for id in row.ids:
        if id not in found:
            measured.append(f"<p>{escape(id)} {badge('absent')}</p>")
            continue
        measured.append(f'<p><a href="#{anchor(id)}">{escape(id)}</a> {badge(status(found[id]))}</p>')
        measured += [_measured(name, members) for (name, _), members in forms(found[id].checks).items()]
    held = [check for id in row.ids if id in found for check in found[id].checks if check.verdict == "holds"]
    return (
        f'<tr><th scope="row">{escape(row.system)}<span class="soft small">{escape(row.relaxation)}</span>'
        f'<span class="variants">{_variants(held, prefix)}</span></th>'
        f'<td class="formula">{escape(row.papers) or "–"}</td><td class="formula">{escape(row.sharper) or "–"}</td>'
        f"<td>{''.join(measured)}</td></tr>"
    )


def _measured(name: str, members: Sequence[Check]) -> str:
    """A form of a bound with its bar, and where it comes closest."""
    tightest = report.closest(members)
    state = form_status(members)
    if tightest is None or state == "untested":
        told, bar, at = badge("untested"), "<span></span>", ""
    elif tightest.kind == "equality":
        told, bar, at = "equal", "<span></span>", ""
    else:
        ratio = report.ratio_of(tightest)
        told = "attained" if math.isclose(ratio, 1, rel_tol=1e-9) else f"{ratio:.3g}"
        is_over = state == "violated"
        width = f"{100 * min(max(ratio, 0), 1):.1f}%"
        bar = f'<span class="meter{" over" if is_over else ""}" aria-hidden="true"><i style="width:{width}"></i></span>'
        at = place(tightest) + ("; within statistical error" if ratio > 1 + 1e-9 and not is_over else "")
    where = f'<span class="soft">{at}</span>' if at else ""
    return f'<div class="measured"><span>{escape(name)}</span>{bar}<span class="number">{told}</span>{where}</div>'


def _variants(checks: Sequence[Check], prefix: str) -> str:
    """Links to the variants of these settings."""
    known = algorithms.variants()
    names = dict.fromkeys(word for check in checks if (word := check.setting.split(" ")[0]) in known)
    links = (f'<a href="{prefix}{file_of(known[name].__name__)}"><code>{name}</code></a>' for name in names)
    return " ".join(links)
