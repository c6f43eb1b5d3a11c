"""What an experiment returns: its question, and claims with what was expected and what was measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elastic_jax import provenance


@dataclass(frozen=True)
class Claim:
    """One claim, judged by numbers: low and high are the extremes over seeds where there are several."""

    claim: str
    expected: str
    measured: float
    low: float
    high: float
    holds: bool


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
