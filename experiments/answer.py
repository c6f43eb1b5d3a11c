"""What an experiment returns: its question, and claims with what was expected and what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from elastic_jax import provenance


@dataclass(frozen=True)
class Claim:
    """One claim, judged by numbers: low and high are the ends of its band over seeds where there are several."""

    claim: str
    expected: str
    measured: float
    low: float
    high: float
    holds: bool

    @classmethod
    def of_band(cls, claim: str, expected: str, band: Sequence[Any], *, holds: Any) -> Claim:
        """A claim about an estimate, its lower and its upper end, each a scalar."""
        middle, low, high = (float(end) for end in band)
        return cls(claim, expected, middle, low, high, bool(holds))

    @property
    def line(self) -> str:
        """What the terminal shows: verdict, claim, estimate with its band, and what was expected."""
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}  {self.claim}: {self.measured:.4g} [{self.low:.4g}, {self.high:.4g}] ({self.expected})"


@dataclass(frozen=True)
class Answer:
    """An experiment's answer, with what is needed to repeat it."""

    question: str
    size: str
    claims: tuple[Claim, ...]
    seconds: float
    machine: str = field(default_factory=provenance.machine)
    commit: str = field(default_factory=provenance.commit)
    versions: dict[str, str] = field(default_factory=provenance.versions)

    def as_json(self) -> dict[str, Any]:
        """{question, size, claims: [{claim, expected, ...}], seconds, machine, commit, versions}."""
        return asdict(self)

    def save(self, run_dir: Path) -> None:
        """Writes answer.json into the run folder."""
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "answer.json").write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")

    def tell(self, console: Console, run_dir: Path, *, data: str = "points") -> None:
        """Prints each claim, and where everything is; `data` is the word for what the figure is drawn from."""
        for claim in self.claims:
            console.print(claim.line)
        console.print(f"{self.question}\nTable, {data}, figure and answer are in {run_dir} ({self.seconds:.0f} s)")
