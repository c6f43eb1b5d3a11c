"""Runs statements, and tells what came of them: a table, plain data, an exit status."""

from __future__ import annotations

import functools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from itertools import pairwise
from multiprocessing import get_context
from typing import Any, NamedTuple

import jax
from rich.table import Table

import proofs_check
from elastic_jax import arguments, provenance
from proofs_check import cases, record
from proofs_check.record import Check

CAPTION = """\
closest call: how near the worst step of all settings came to a violation. "4e-06 of rounding": both sides of an
equality differ by this fraction of what rounding in float64 explains. "0.4 of its band": so do two means, by this
fraction of what statistical error explains. "0.48 of bound": measured / claimed at that step;
at 1 the bound is attained. A setting is skipped where a hypothesis of the statement fails, and vacuous where the
comparison could not fail. --json has every hypothesis, both sides and the reasons."""


class Outcome(NamedTuple):
    """What came of one statement."""

    id: str
    checks: list[Check]
    """A record for each setting, each with whether the planted bugs were noticed."""
    controls: list[Check]
    """A record for each planted bug."""
    seconds: float


def prove(ids: Iterable[str] | None = None, *, is_quick: bool = False) -> list[Check]:
    """The records of the statements `ids`, all for None, each with whether its planted bugs were noticed.

    Args:
        ids: such as ["EC:I2", "EC:T2.1"]; an unknown one is a `ValueError` that proposes the closest.
        is_quick: fewer settings, see `cases.sizes`, and no planted bugs.
    """
    chosen = proofs_check.statements() if ids is None else {id: proofs_check.statement(id) for id in ids}
    return [check for id in chosen for check in outcome(id, is_quick=is_quick).checks]


def outcome(id: str, *, is_quick: bool = False) -> Outcome:
    """One statement, tried in all its settings and with all its planted bugs.

    Args:
        id: such as "EC:I2".
        is_quick: as in `prove`.
    """
    module, started_at = proofs_check.statement(id), time.perf_counter()
    controls = [] if is_quick else module.control()
    noticed = None if is_quick else bool(controls) and all(control.control_tripped for control in controls)
    with cases.sizes(is_quick=is_quick):
        checks = [check._replace(control_tripped=noticed) for check in module.check()]
    return Outcome(id, checks, controls, time.perf_counter() - started_at)


def forget_programs() -> None:
    """Let go of compiled programs; what was measured with them stays.

    Each keeps pages of memory of its own, of which Linux lets a process have 65,530 (`vm.max_map_count`): with all
    statements in one process the compiler would die of it.
    """
    jax.clear_caches()


def outcomes(ids: Sequence[str], *, is_quick: bool = False, num_processes: int = 1) -> Iterator[Outcome]:
    """Statements in the order of `ids`, each as soon as it and those before it are done.

    Args:
        ids: such as ["EC:I2", "EC:T2.1"].
        is_quick: as in `prove`.
        num_processes: >= 1, that share the statements; each keeps runs of its own, and has neighbours in `ids`, which
            are about the same runs.
    """
    num_processes = min(arguments.integer("num_processes", num_processes, low=1), len(ids))
    one = functools.partial(_one_of_many, is_quick=is_quick)
    if num_processes <= 1:
        yield from map(one, ids)
        return
    started = [
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_start_process)
        for _ in range(num_processes)
    ]
    try:
        yield from _shared(one, ids, started)
    finally:
        for process in started:
            process.shutdown(wait=False, cancel_futures=True)


def _one_of_many(id: str, *, is_quick: bool) -> Outcome:
    found = outcome(id, is_quick=is_quick)
    forget_programs()
    return found


def _shared(one: Callable[[str], Outcome], ids: Sequence[str], processes: Sequence[Executor]) -> Iterator[Outcome]:
    """Each process has a stretch of `ids`, from its start; whoever is done takes from the end of the longest left."""
    lengths = [len(ids) * number // len(processes) for number in range(len(processes) + 1)]
    stretches = [deque(range(*ends)) for ends in pairwise(lengths)]
    running: dict[Future[Outcome], tuple[int, int]] = {}
    finished: dict[int, Outcome] = {}

    def go_on(number: int) -> None:
        own = stretches[number]
        most = max(stretches, key=len)
        if most:
            place = own.popleft() if own else most.pop()
            running[processes[number].submit(one, ids[place])] = number, place

    for number in range(len(processes)):
        go_on(number)
    for place in range(len(ids)):
        while place not in finished:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, its_place = running.pop(future)
                finished[its_place] = future.result()
                go_on(number)
        yield finished.pop(place)


def _start_process() -> None:
    jax.config.update("jax_enable_x64", True)


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


def as_data(outcomes: Sequence[Outcome], *, seconds: float) -> dict[str, Any]:
    """What `--json FILE` of `elastic-jax prove` writes.

    Args:
        outcomes: one for each statement.
        seconds: that all took.
    """
    return {
        "statements": [record.as_json(check) for outcome in outcomes for check in outcome.checks],
        "controls": [
            {"id": outcome.id, "bug": control.setting.removeprefix("planted: "), "is_noticed": control.control_tripped}
            for outcome in outcomes
            for control in outcome.controls
        ],
        "seconds": seconds,
        "machine": provenance.machine(),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
    }


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
    tightest = closest(members)
    noticed = {check.control_tripped for check in members}
    return (
        members[0].setting if len(members) == 1 else str(len(members)),
        ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in record.VERDICTS if verdicts[verdict]),
        "" if tightest is None else closeness(tightest),
        "" if tightest is None else "; ".join(filter(None, (tightest.setting, tightest.where))),
        "not tried" if noticed == {None} else "noticed" if noticed == {True} else "MISSED",
    )


def closest(checks: Sequence[Check]) -> Check | None:
    """The record that comes closest to a violation; None where nothing was measured."""
    return max((check for check in checks if check.ratio is not None), key=ratio_of, default=None)


def closeness(check: Check) -> str:
    """The ratio of a record, with what it is a fraction of."""
    if check.kind == "equality" and check.slack is not None:
        return f"{ratio_of(check):.2g} of its band"
    if check.kind == "equality":
        return f"{ratio_of(check):.0e} of rounding"
    return "attained" if math.isclose(ratio_of(check), 1, rel_tol=1e-9) else f"{ratio_of(check):.3g} of bound"


def ratio_of(check: Check) -> float:
    """The ratio of a record that has one."""
    assert check.ratio is not None
    return check.ratio
