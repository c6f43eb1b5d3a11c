"""`elastic-jax tighten`: how near the constants of the theory can be approached, by search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from elastic_jax.console import page


@dataclass(frozen=True)
class Tighten:
    """Search for the gradients, noise and schedules that come closest to each bound; exits with 1 if one exceeds it."""

    settings: tyro.conf.Positional[tuple[str, ...]] = ()
    """Words that the names of settings must all have, e.g. shared_memory_sgd memory; every setting if none is given."""
    folder: Path = Path("runs/tightness")
    """Where instances are saved, one file each. Those that are there are run again instead of searched for."""
    seed: int = 0
    """Of the starts and schedules."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {"instances": [{kind, setting, step_size, seed, ratio, step, worker, is_tight}]} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Prints the table of ratios; {"instances": [...]} and the status."""
        jax.config.update("jax_enable_x64", True)  # bounds are used up to 1e-9
        from proofs_check.tightness import instances, kinds, search

        there = {(each.kind, each.setting): each for each in map(instances.load, sorted(self.folder.glob("*.npz")))}
        wanted = [
            (kind, setting)
            for kind in kinds.KINDS
            for setting in search.settings(kind)
            if all(word in setting for word in self.settings)
        ]
        if not wanted:
            raise ValueError(f"settings = {' '.join(self.settings)!r} is in the name of none; try shared_memory_sgd")
        console, found = page(), []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=len(wanted))
            for kind, setting in wanted:
                progress.update(task, description=f"{setting}, {kind}")
                known = there.get((kind, setting))
                if known is not None:
                    found.append(known._replace(ratio=instances.replay(known)))
                elif (best := search.best(kind, setting, seed=self.seed)) is not None:
                    best.save(self.folder)
                    found.append(best)
                progress.advance(task)
        table = Table(title="How near the bounds can be approached")
        for heading in ("setting", "instance", "ratio to the bound", "where", "tight"):
            table.add_column(heading)
        rows = []
        for each in sorted(found, key=lambda one: (one.setting, one.kind)):
            is_tight = each.ratio >= search.TIGHT
            where = f"t = {each.step}, i = {each.worker}"
            table.add_row(each.setting, each.kind, f"{each.ratio:.4g}", where, "yes" if is_tight else "")
            fields = {name: value for name, value in each._asdict().items() if name != "variables"}
            rows.append(fields | {"is_tight": is_tight})
        console.print(table)
        console.print(f"Instances are in {self.folder}")
        return {"instances": rows}, 1 if any(each.ratio > 1 + search.ROUNDING for each in found) else 0
