"""`elastic-jax prove`: the theory's statements, checked numerically at every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.progress import track

from elastic_jax.console import page


@dataclass(frozen=True)
class Prove:
    """Check the theory's statements numerically; exits with 1 if one is violated or a planted bug goes unseen."""

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Statements to check, e.g. EC:I2 EC:E7; all if none is named."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {"statements": [{id, name, kind, setting, hypotheses, measured, claimed, ratio, verdict, seeds, steps,
    control_tripped}]} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Prints the table of verdicts; {"statements": [...]} and the status."""
        jax.config.update("jax_enable_x64", True)  # identities are judged to 1e-10
        import proofs_check
        from proofs_check import record, report

        chosen = list(self.ids) or list(proofs_check.statements())
        for each in chosen:
            proofs_check.statement(each)
        console = page()
        checks = [
            check
            for each in track(chosen, "proving", console=console, transient=True)
            for check in report.prove([each])
        ]
        console.print(report.table(checks))
        violated = [check for check in checks if check.verdict == "violated" or check.control_tripped is False]
        for check in violated:
            console.print(record.as_json(check))
        return {"statements": [record.as_json(check) for check in checks]}, report.exit_status(checks)
