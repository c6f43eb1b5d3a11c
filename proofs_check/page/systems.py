"""A table of systems: what the papers promise, what is proved here, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from elastic_jax import algorithms
from proofs_check import report
from proofs_check.page.words import anchor, badge, file_of, form_status, forms, place, status
from proofs_check.record import Check
from proofs_check.report import Outcome
from proofs_check.tables import Row, Table


def section(table: Table, found: Mapping[str, Outcome], prefix: str) -> str:
    """A table with its heading and what it is about.

    Args:
        table: what is promised.
        found: {id: outcome}.
        prefix: of links to the code.
    """
    headings = "".join(f'<th scope="col">{escape(each)}</th>' for each in (*table.headings, "measured / claimed"))
    rows = "".join(
        f'<tr class="part"><th colspan="4" scope="colgroup">{escape(title)}</th></tr>'
        + "".join(_row(row, found, prefix) for row in members)
        for title, members in table.parts
    )
    id = anchor(table.title).lower()
    return (
        f'<section aria-labelledby="{id}"><h2 id="{id}">{escape(table.title)}</h2><p>{escape(table.about)}</p>'
        f'<div class="scroll tile"><table class="systems"><caption class="soft small">{escape(table.symbols)}</caption>'
        f"<thead><tr>{headings}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _row(row: Row, found: Mapping[str, Outcome], prefix: str) -> str:
    measured = []
    for id in row.ids:
        if id not in found:
            measured.append(f"<p>{escape(id)} {badge('absent')}</p>")
            continue
        measured.append(f'<p><a href="#{anchor(id)}">{escape(id)}</a> {badge(status(found[id]))}</p>')
        measured += [_measured(name, members) for (name, _), members in forms(found[id].checks).items()]
    held = [check for id in row.ids if id in found for check in found[id].checks if check.verdict == "holds"]
    return (
        f'<tr><th scope="row">{escape(row.system)}<span class="soft small">{escape(row.why)}</span>'
        f'<span class="variants">{_variants(held, prefix)}</span></th>'
        f'<td class="formula">{escape(row.papers) or "–"}</td><td class="formula">{escape(row.proved) or "–"}</td>'
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
