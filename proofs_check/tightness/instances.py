"""What a search has found: saved, loaded, run again, and handed to statements as cases of their own."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elastic_jax import arguments, delays, reads
from elastic_jax.base import Algorithm
from proofs_check import cases, settings, two_samples
from proofs_check.cases import Case
from proofs_check.compression import specimens
from proofs_check.settings import Setting
from proofs_check.tightness import kinds
from proofs_check.tightness.kinds import KINDS, Kind

FOUND = Path(__file__).with_name("found")
"""Where the instances of this package are."""

STEP_SIZE = cases.STEP_SIZE
"""α where a bound holds for any."""

_SHRUNK = {"compressor": specimens.shrinking(0.75), "error_feedback": True}

PARTS: Mapping[str, Mapping[str, Any]] = {
    **settings.PARTS,
    "a delay of one, stand-ins": {"delays": delays.constant(1), "substitute": True},
    "shrunk messages with memory": _SHRUNK,
    "delays, shrunk messages with memory": {"delays": delays.constant(1), "fifo": True, **_SHRUNK},
    "oldest reads, shrunk messages with memory": {"reads": reads.oldest(3), **_SHRUNK},
}
"""As `settings.PARTS`, with a compressor that loses all that it may of every message, and noise of one step missing."""


class Instance(NamedTuple):
    """The closest that a search has come to a bound."""

    kind: str
    """Of `kinds.KINDS`."""
    setting: str
    """Which of `tried()`."""
    step_size: float
    """α."""
    seed: int
    """Of the schedule."""
    ratio: float
    """E‖x_t - v_t^i‖² / bound, at its largest."""
    step: int
    """Where that is."""
    worker: int
    variables: Mapping[str, np.ndarray]
    """What the search was over; see `kinds`."""

    def save(self, folder: Path) -> Path:
        """Writes KIND_SETTING.npz, with all fields, into `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        words = "".join(letter if letter.isalnum() else " " for letter in f"{self.kind} {self.setting}").split()
        path = folder / f"{'_'.join(words)}.npz"
        fields = {name: value for name, value in self._asdict().items() if name != "variables"}
        arrays: dict[str, Any] = dict(self.variables)
        np.savez_compressed(path, fields=json.dumps(fields), **arrays)
        return path


def load(path: Path) -> Instance:
    """What `Instance.save` wrote."""
    with np.load(path) as saved:
        fields = json.loads(str(saved["fields"]))
        return Instance(**fields, variables={name: saved[name] for name in saved.files if name != "fields"})


def replay(found: Instance) -> float:
    """Runs an instance again: E‖x_t - v_t^i‖² / bound where it says that this is largest."""
    case = rerun(found)
    distances = case.trajectory.distances_sq.mean(axis=0)
    return float(distances[found.step, found.worker]) / bound(KINDS[found.kind], case.algorithm)


def tried() -> list[Setting]:
    """Every variant of the registry on its defaults, then with each of `PARTS` that it takes."""
    return settings.every(PARTS)


@functools.lru_cache(maxsize=256)
def build(kind: str, setting: str, step_size: float) -> Algorithm:
    """The algorithm of a setting, for instances of a kind."""
    arguments.one_of("kind", kind, KINDS)
    arguments.one_of("setting", setting, [each.name for each in tried()])
    chosen = next(each for each in tried() if each.name == setting)
    made = KINDS[kind]
    return chosen.build(made.oracle, num_workers=made.num_workers, step_size=step_size, **chosen.arguments)


def bound(kind: Kind, algorithm: Algorithm) -> float:
    """α² B² for the constants of the kind; infinite where none is promised."""
    promised = algorithm.consistency_bound(kind.constants, kinds.start(algorithm))
    return float("inf") if promised is None else float(promised)


def hardest(is_meant: Callable[[Algorithm], bool]) -> Iterator[Case]:
    """The instances in `FOUND` of settings that are meant, each run as it was when it was found.

    Args:
        is_meant: chooses by what an algorithm declares; it is shown the one built for `two_samples`.
    """
    meant = (path for path in sorted(FOUND.glob("*.npz")) if is_meant(_shown(load(path).setting)))
    for path in cases.few(meant, number=1):
        yield _kept(path)


@functools.cache
def _shown(setting: str) -> Algorithm:
    chosen = next(each for each in tried() if each.name == setting)
    n = cases.NUM_WORKERS_EXACT
    return chosen.build(two_samples.oracle, num_workers=n, step_size=STEP_SIZE, **chosen.arguments)


def rerun(found: Instance) -> Case:
    """An instance as a case for statements."""
    kind, algorithm = KINDS[found.kind], build(found.kind, found.setting, found.step_size)
    run = kinds.lay_out(kind, algorithm, found.variables, found.seed)
    text = f"{found.setting} on the hardest {found.kind} that was found"
    return Case(text, algorithm, run, kind.stated, found.step_size)


@functools.cache
def _kept(path: Path) -> Case:
    return rerun(load(path))
