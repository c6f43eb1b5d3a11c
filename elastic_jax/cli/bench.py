"""`elastic-jax bench`: what a step costs, beside a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from elastic_jax import algorithms, arguments, devices, provenance
from elastic_jax.benchmarks import grid, rates, relaxed, workloads
from elastic_jax.console import page


@dataclass(frozen=True)
class Failure:
    """What could not be measured, and why."""

    case: str
    error: str


@dataclass(frozen=True)
class Bench:
    """Time the step of an algorithm beside the ideal loop; exits with 1 if a promised ratio is missed."""

    workloads: tuple[str, ...] = ()
    """Models to time, by the beginning of their names; all if none is named."""
    algorithms: tuple[str, ...] = ("local_sgd",)
    """Variants to time on them."""
    num_workers: tuple[int, ...] = (4, 8, 32)
    """Each n."""
    num_devices: tuple[int, ...] = ()
    """Devices the workers are spread over; default 1 and 2 on a CPU (virtual ones), else 1 and all there are."""
    rounds: int = 5
    """Timed rounds of each side; medians are of these."""
    relaxed: bool = True
    """Time each relaxation with its parts on the CNN, n = 8, too."""
    rates: bool = True
    """Time the single mechanisms, too."""
    markdown: Path | None = None
    """Write the tables to this file, with machine and commit."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {"rows": [{algorithm, problem, num_workers, device, num_devices, step_ms, ideal_ms, ratio, num_active,
    compile_s, state_bytes, formula_bytes, limit}], "rates": [...], "failures": [{case, error}], machine, commit,
    versions} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Prints the tables; the record, and status 1 where a promise is missed."""
        rounds = arguments.integer("--rounds", self.rounds, low=1)
        for name in self.algorithms:
            algorithms.variant(name)
        for n in self.num_workers:
            arguments.integer("--num-workers", n, low=1)
        chosen = [name for name in workloads.WORKLOADS if not self.workloads or name.startswith(self.workloads)]
        if not chosen:
            arguments.one_of("--workloads", self.workloads[0], workloads.WORKLOADS)
        counts = self._device_counts()
        cases = [
            (algorithm, workload, n, count)
            for workload in chosen
            for algorithm in self.algorithms
            for n in self.num_workers
            for count in counts
            if n % count == 0
        ]
        labels = [(label, count) for label in relaxed.CASES for count in counts] if self.relaxed else []
        console, failures = page(), list[Failure]()
        flat_rates, rows = list[rates.Rate](), list[grid.Row]()

        def keep(kind: list[Any], found: Sequence[Any]) -> None:
            kind.extend(found)
            if self.markdown is not None:  # at once: a compiler that aborts takes the process with it
                self.markdown.write_text(_markdown(rows, flat_rates), encoding="utf-8")

        def row(measure: Callable[..., grid.Row], *case: Any) -> None:
            keep(rows, [measure(*case, num_rounds=rounds)])

        def measure_rates() -> None:
            keep(flat_rates, rates.all_rates(rounds))

        _each("mechanisms", [()] if self.rates else [], measure_rates, console, failures)
        _each("timing", cases, partial(row, grid.measure), console, failures)
        _each("relaxations", labels, partial(row, relaxed.measure), console, failures)
        for table in (_grid_table(rows), _rates_table(flat_rates)):
            console.print(table)
        for failure in failures:
            console.print(f"not measured: {failure.case}: {failure.error}", style="red", markup=False)
        is_missed = any(row.limit is not None and row.ratio > row.limit for row in rows)
        is_missed = is_missed or any(not rate.is_met for rate in flat_rates)
        record = {
            "rows": [asdict(row) for row in rows],
            "rates": [asdict(rate) for rate in flat_rates],
            "failures": [asdict(failure) for failure in failures],
            "machine": provenance.machine(),
            "commit": provenance.commit(),
            "versions": provenance.versions(),
        }
        return record, int(is_missed or bool(failures))

    def _device_counts(self) -> Sequence[int]:
        if self.num_devices:
            wanted = [arguments.integer("--num-devices", count, low=1) for count in self.num_devices]
            if max(wanted) > 1:
                devices.request_cpu_devices(max(wanted))
            return wanted
        devices.request_cpu_devices(2)
        return sorted({1, jax.device_count()})


def _each(
    description: str,
    cases: Sequence[tuple[Any, ...]],
    measure: Callable[..., None],
    console: Console,
    failures: list[Failure],
) -> None:
    """Each case is measured. One that fails, or all after an interruption, end up in `failures`."""
    for number, case in enumerate(track(cases, description, console=console)):
        if failures and failures[-1].error == INTERRUPTED:
            break
        what = ", ".join(map(str, case)) or description
        try:
            measure(*case)
        except KeyboardInterrupt:
            failures.append(Failure(f"{what}, and {len(cases) - number - 1} more", INTERRUPTED))
            break
        except Exception as error:  # an hour of measurements must survive the one that fails
            failures.append(Failure(what, f"{type(error).__name__}: {error}"))


INTERRUPTED = "interrupted"

GRID_COLUMNS = (
    "algorithm",
    "problem",
    "n",
    "devices",
    "step (ms)",
    "ideal (ms)",
    "ratio",
    "limit",
    "compile (s)",
    "state (bytes)",
    "formula (bytes)",
)


def _grid_cells(row: grid.Row) -> tuple[str, ...]:
    limit = "" if row.limit is None else f"{row.limit:g}"
    return (
        row.algorithm,
        row.problem,
        str(row.num_workers),
        str(row.num_devices),
        f"{row.step_ms:.3g}",
        f"{row.ideal_ms:.3g}",
        f"{row.ratio:.2f}",
        limit,
        f"{row.compile_s:.1f}",
        str(row.state_bytes),
        str(row.formula_bytes),
    )


def _rate_cells(rate: rates.Rate) -> tuple[str, ...]:
    return (rate.name, f"{rate.value:.3g} {rate.unit}", rate.limit, "yes" if rate.is_met else "NO")


RATE_COLUMNS = ("mechanism", "measured", "limit", "met")


def _grid_table(rows: Sequence[grid.Row]) -> Table:
    table = Table(*GRID_COLUMNS, title="one step of all workers, beside the best hand-written loop")
    for row in rows:
        missed = row.limit is not None and row.ratio > row.limit
        table.add_row(*_grid_cells(row), style="red" if missed else None)
    return table


def _rates_table(measured: Sequence[rates.Rate]) -> Table:
    table = Table(*RATE_COLUMNS, title="single mechanisms")
    for rate in measured:
        table.add_row(*_rate_cells(rate), style=None if rate.is_met else "red")
    return table


def _markdown(rows: Sequence[grid.Row], measured: Sequence[rates.Rate]) -> str:
    def lines(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
        return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *cells)]

    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Made by `elastic-jax bench --markdown docs/benchmarks.md`. Ratios are of medians, taken in turn.",
            "",
            f"Machine: {provenance.machine()}. Commit {provenance.commit()}. {versions}.",
            "",
            *lines(GRID_COLUMNS, [_grid_cells(row) for row in rows]),
            "",
            *lines(RATE_COLUMNS, [_rate_cells(rate) for rate in measured]),
            "",
        ]
    )
