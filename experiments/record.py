"""What an experiment has computed stays: a run folder that goes on where it was interrupted.

The folder holds the configuration, which must be the same when it is opened again, and one file for each piece of work
that is done. A piece is written whole or not at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

CONFIG = "config.json"
PIECES = "pieces"
SECONDS = "_seconds"


def open_folder(run_dir: Path, config: Any, *, size: str) -> None:
    """Makes the folder and writes `config`, a dataclass; raises `ValueError` if it holds work of another one."""
    described = json.loads(json.dumps({"size": size, **asdict(config)}))
    path = run_dir / CONFIG
    if path.exists() and (run_dir / PIECES).exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        names = sorted(name for name in {*found, *described} if found.get(name) != described.get(name))
        if names:
            differences = ", ".join(f"{name} = {found.get(name)} there, {described.get(name)} now" for name in names)
            raise ValueError(f"{run_dir} holds a run with another configuration: {differences}; give another --run-dir")
    (run_dir / PIECES).mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def kept(run_dir: Path, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `compute()` gives, from the folder where it was computed before."""
    path = run_dir / PIECES / f"{name}.npz"
    if not path.exists():
        start = time.perf_counter()
        found = compute()
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            np.savez(file, **{**found, SECONDS: np.asarray(time.perf_counter() - start)})  # type: ignore[arg-type]  # a stub's flaw
        unfinished.rename(path)
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files if key != SECONDS}


def seconds(run_dir: Path) -> float:
    """What all pieces of the folder took together, whenever they were computed."""
    total = 0.0
    for path in sorted((run_dir / PIECES).glob("*.npz")):
        with np.load(path) as stored:
            total += float(stored[SECONDS]) if SECONDS in stored.files else 0.0
    return total
