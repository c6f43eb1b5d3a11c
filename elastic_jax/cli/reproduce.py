"""`elastic-jax reproduce NAME`: one experiment, its question answered by numbers, a table and a figure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


@dataclass(frozen=True)
class Reproduce:
    """Run an experiment; exits with 1 if one of its claims does not hold."""

    name: tyro.conf.Positional[str]
    """The experiment, e.g. families_on_digits."""
    size: Literal["smoke", "small", "paper"] = "small"
    """smoke: a minute, does it run; small: two cores; paper: an accelerator."""
    smoke: bool = False
    """The same as --size smoke."""
    all: bool = False
    """Every registered variant instead of one for each family, where the experiment has the choice."""
    run_dir: Path | None = None
    """Where results are written; default runs/NAME-SIZE."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {question, size, claims: [{claim, expected, measured, low, high, holds}], seconds, machine, commit,
    versions} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Prints the answer; the record and status 0 if all claims hold."""
        import experiments

        size = "smoke" if self.smoke else self.size
        module = experiments.experiment(self.name)
        config = module.SIZES[size]
        if self.all:
            if not hasattr(config, "is_complete"):
                raise ValueError(f"--all does not apply: {self.name} has no choice of variants")
            config = dataclasses.replace(config, is_complete=True)
        run_dir = self.run_dir or Path("runs") / f"{self.name}-{size}"
        answer = module.main(config, size=size, run_dir=run_dir)
        return answer.as_json(), 0 if all(claim.holds for claim in answer.claims) else 1
