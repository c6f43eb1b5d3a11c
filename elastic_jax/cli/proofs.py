"""`elastic-jax train --prove`: what is checked in every step of the run, told at once and at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from elastic_jax import console, run
from elastic_jax.base import Algorithm, Params, Problem
from elastic_jax.metrics import Metric

PROOFS = "proofs"
"""Name of the metric."""
FILE = "proofs.json"
"""Where the verdicts are, in the run folder."""


class Proofs:
    """The checks of one run."""

    def __init__(self, algorithm: Algorithm, params: Params, problem: Problem, every: int, run_dir: Path) -> None:
        """Which checks there are; they are made in every step, and read every `every` steps."""
        from proofs_check import live  # what trains without checks needs none of it

        self._live, self._file = live, run_dir / FILE
        self._checks = live.checks(algorithm, params, problem)
        self.metrics: dict[str, Metric] = {PROOFS: live.metric(self._checks, every)}

    def watched(self, train: Callable[..., run.Result]) -> run.Result:
        """Train, telling on stderr of what is violated as soon as it is; of a run that diverges the table is shown."""
        stderr = Console(stderr=True, soft_wrap=True, highlight=False)
        try:
            return train(watch=self._live.Watch(self._checks, lambda text: stderr.print(text, markup=False)))
        except run.Diverged as diverged:
            self.tell(diverged.result)
            raise

    def tell(self, result: run.Result) -> tuple[list[dict[str, Any]], int]:
        """Print the verdicts and write them into the run folder; plain data and the exit status."""
        found = self._live.verdicts(self._checks, result.history[PROOFS][1])
        console.page().print(self._live.table(found))
        record = self._live.as_json(found)
        self._file.write_text(json.dumps({"proofs": record}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return record, self._live.exit_status(found)
