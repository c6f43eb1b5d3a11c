"""The command line: `elastic-jax list | train | prove | tighten | reproduce | data | bench`.

One file a command. Each is a frozen dataclass of its flags with `execute()`, which prints what people read and returns
what `--json FILE` writes.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from elastic_jax.cli.bench import Bench
from elastic_jax.cli.data import Data
from elastic_jax.cli.list import List
from elastic_jax.cli.prove import Prove
from elastic_jax.cli.reproduce import Reproduce
from elastic_jax.cli.tighten import Tighten
from elastic_jax.cli.train import Train

Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Prove, tyro.conf.subcommand("prove")]
    | Annotated[Tighten, tyro.conf.subcommand("tighten")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


PACKAGES = Path(__file__).parents[2]
NAMES = ("elastic_jax", "proofs_check", "experiments")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 a check failed, 2 bad input (one line on stderr), 130 interrupted."""
    command: Any = tyro.cli(
        Command,
        prog="elastic-jax",
        description="Distributed SGD as pure JAX functions, with the theory checked at every step.",
        args=argv,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        result, status = command.execute()
    except (ValueError, TypeError, FileNotFoundError, ConnectionError, ImportError) as error:
        if not _is_ours(error):
            raise
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"elastic-jax: {error}", markup=False)
        sys.exit(2)
    except FloatingPointError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"elastic-jax: {error}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        Console(stderr=True, soft_wrap=True).print(str(interrupt) or "interrupted", markup=False)
        sys.exit(130)
    if command.json is not None:
        command.json.parent.mkdir(parents=True, exist_ok=True)
        command.json.write_text(json.dumps(result, indent=2, default=str, allow_nan=True) + "\n")
    sys.exit(status)


def _is_ours(error: BaseException) -> bool:
    """Whether our own code raised it, about what it was given; else it is a fault and its traceback is wanted."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    ours = any(Path(place.filename).is_relative_to(PACKAGES / name) for name in NAMES)
    return ours and (place.line or "").startswith("raise ")
