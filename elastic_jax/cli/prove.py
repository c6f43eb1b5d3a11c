"""`elastic-jax prove`: the theory's statements, checked numerically at every step."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from elastic_jax.console import page


@dataclass(frozen=True)
class Prove:
    """Check the theory's statements numerically; exits with 1 if one is violated or a planted bug goes unseen."""

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Statements to check, e.g. EC:I2 EC:E7; all if none is named."""
    quick: bool = False
    """Every statement, in fewer settings and without planted bugs."""
    num_processes: int | None = None
    """Processes that share the statements; two if there are two cores, and as many as are given."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write all of it to this file as a page to read, with the constants of the paper and a plot for every bound."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {"statements": [{id, name, kind, setting, hypotheses, measured, claimed, ratio, verdict, seeds, steps,
    control_tripped, ratios}], "controls": [{id, bug, is_noticed}], ...} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Prints the table of verdicts; {"statements": [...], ...} and the status."""
        jax.config.update("jax_enable_x64", True)  # identities are judged to 1e-10
        import proofs_check
        from proofs_check import page as pages
        from proofs_check import record, report

        chosen = list(self.ids) or list(proofs_check.statements())
        for each in chosen:
            proofs_check.statement(each)
        num_processes = min(2, os.cpu_count() or 1) if self.num_processes is None else self.num_processes
        console, started_at, outcomes = page(), time.perf_counter(), []
        columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=len(chosen))
            for outcome in report.outcomes(chosen, is_quick=self.quick, num_processes=num_processes):
                outcomes.append(outcome)
                progress.update(task, description=outcome.id, advance=1)
        seconds = time.perf_counter() - started_at
        checks = [check for outcome in outcomes for check in outcome.checks]
        console.print(report.table(checks))
        for check in checks:
            if check.verdict == "violated" or check.control_tripped is False:
                console.print(record.as_json(check))
        if self.html is not None:
            pages.write(outcomes, self.html, seconds=seconds)
        return report.as_data(outcomes, seconds=seconds), report.exit_status(checks)
