"""`elastic-jax prove`: the theory's statements, checked numerically at every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


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
        from proofs_check import report  # the proofs switch JAX to float64, which other commands must not

        checks = report.prove(list(self.ids) or None)
        return report.as_json(checks), report.exit_status(checks)
