"""`elastic-jax list`: the registered variants, and the tables of the documentation that are made from them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro
from rich.table import Table

from elastic_jax import algorithms
from elastic_jax.console import page

MARKS = ("<!-- variants: begin (made by `make docs`) -->", "<!-- variants: end -->")


@dataclass(frozen=True)
class List:
    """Show the registered variants."""

    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {"variants": [{name, family, module}]} to this file."""
    write_tables: bool = False
    """Write the table of variants into README.md of this directory anew."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Prints the table; {"variants": [...]} and status 0."""
        table = Table("variant", "family", "idea", "arguments of its own")
        for family, members in algorithms.families().items():
            for name, module in members.items():
                table.add_row(name, family, idea(module), ", ".join(own_arguments(module)))
        page().print(table)
        if self.write_tables:
            readme = Path("README.md")
            readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
        variants = [
            {"name": name, "family": family, "module": module.__name__}
            for family, members in algorithms.families().items()
            for name, module in members.items()
        ]
        return {"variants": variants}, 0


def idea(module: ModuleType) -> str:
    """What a variant is, from the first line of its docstring, without its name."""
    line = (module.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return line.partition(": ")[2] or line


def own_arguments(module: ModuleType) -> list[str]:
    """The arguments of a variant's `build` beyond those that all variants take."""
    common = {"oracle", "num_workers", "step_size", "optimizer"}
    return [f"`{name}`" for name in inspect.signature(module.build).parameters if name not in common]


def variants_table() -> str:
    """The table of variants in Markdown."""
    rows = [
        "| variant | family | idea | arguments of its own | is synchronous SGD at |",
        "|---|---|---|---|---|",
    ]
    for family, members in algorithms.families().items():
        for name, module in members.items():
            path = module.__name__.replace(".", "/") + ".py"
            limit = ", ".join(f"`{key}`" for key in module.SGD_LIMIT) if module.SGD_LIMIT else "its defaults"
            limit = "–" if module.SGD_LIMIT is None else limit
            own = ", ".join(own_arguments(module)) or "–"
            rows.append(f"| [`{name}`]({path}) | {family} | {idea(module)} | {own} | {limit} |")
    return "\n".join(rows)


def with_table(text: str) -> str:
    """`text` with the table between its two marks made anew; a `ValueError` where the marks are missing."""
    begin, end = MARKS
    if begin not in text or end not in text:
        raise ValueError(f"README.md has no place for the table of variants; it must have the lines {begin} and {end}")
    return text.partition(begin)[0] + f"{begin}\n{variants_table()}\n{end}" + text.partition(end)[2]
