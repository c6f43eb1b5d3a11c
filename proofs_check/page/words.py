"""What the parts of the page have in common: verdicts in words and colours, anchors and links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from proofs_check.record import Check
from proofs_check.report import Outcome

STATUSES = {"holds": "holds", "violated": "VIOLATED", "untested": "UNTESTED", "absent": "not tried here"}


def status(outcome: Outcome) -> str:
    """holds, violated or untested: what no setting and no planted bug could violate has not been tested.

    Where bugs were not planted at all, to be quick, the settings alone decide.
    """
    if any(check.verdict == "violated" for check in outcome.checks):
        return "violated"
    is_quick = not outcome.controls and all(check.control_tripped is None for check in outcome.checks)
    is_noticed = is_quick or (bool(outcome.controls) and all(control.control_tripped for control in outcome.controls))
    is_noticed = is_noticed and all(check.control_tripped is not False for check in outcome.checks)
    return "holds" if is_noticed and any(check.verdict == "holds" for check in outcome.checks) else "untested"


def form_status(checks: Sequence[Check]) -> str:
    """The same of one form of a statement, the bugs apart."""
    verdicts = {check.verdict for check in checks}
    return "violated" if "violated" in verdicts else "holds" if "holds" in verdicts else "untested"


def forms(checks: Sequence[Check]) -> dict[tuple[str, str], list[Check]]:
    """{(name, kind): records}, in the order of the records."""
    found: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        found.setdefault((check.name, check.kind), []).append(check)
    return found


def badge(status: str, text: str = "") -> str:
    """A verdict, in its colour."""
    return f'<span class="badge {status}">{text or STATUSES[status]}</span>'


def place(check: Check) -> str:
    """The setting, the step and the worker."""
    return escape("; ".join(filter(None, (check.setting, check.where))))


def anchor(id: str) -> str:
    """The id of a statement as that of an element."""
    return re.sub(r"[^A-Za-z0-9]+", "-", id.replace("'", "-prime"))


def file_of(module: str) -> str:
    """Its path in the repository."""
    return module.replace(".", "/") + ".py"
