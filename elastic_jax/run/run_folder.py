"""The record of a run in its folder: the configuration it was started with, and the check that it is the same again.

RUN_DIR/config.json     what decides the numbers ("run"), and what was used to compute them ("environment")
RUN_DIR/metrics.csv     what was measured, see `history`
RUN_DIR/checkpoints/    see `checkpoints`
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import provenance
from elastic_jax.base import PyTree

CONFIG = "config.json"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
EXTENDABLE = "num_steps"
"""What may differ when a run is started again."""


class ConfigMismatch(ValueError):  # noqa: N818  (it names what was found)
    """A run folder holds a run with another configuration; the message names each difference."""


def open_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Make a run folder, or check that it holds a run with the same configuration; then record `config`.

    Args:
        folder: made if need be.
        config: plain data. `num_steps` may differ from that of the earlier start; everything else may not.

    Raises:
        ConfigMismatch: naming each value that differs, as 'path: old -> new'.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = json.loads(json.dumps(config, default=repr))
    path = folder / CONFIG
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))["run"]
        found = list(differences({**old, EXTENDABLE: None}, {**new, EXTENDABLE: None}))
        if found:
            listed = "\n  ".join(found)
            raise ConfigMismatch(
                f"{folder} holds a run with another configuration; take another folder, or start it as it was:"
                f"\n  {listed}"
            )
    environment = {
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }
    write_atomically(path, json.dumps({"run": new, "environment": environment}, indent=2) + "\n")


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Where two pieces of plain data differ, as 'path: old -> new'."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            where = f"{path}.{name}" if path else str(name)
            if name not in old or name not in new:
                yield f"{where}: {_shown(old, name)} -> {_shown(new, name)}"
            else:
                yield from differences(old[name], new[name], where)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif json.dumps(old) != json.dumps(new):
        yield f"{path}: {json.dumps(old)} -> {json.dumps(new)}"


def fingerprint(tree: PyTree) -> list[str]:
    """For each leaf its path, dtype, shape and a checksum of its bytes: enough to notice other values."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [f"{jax.tree_util.keystr(path)} {_checksum(leaf)}".strip() for path, leaf in found]


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is at all times the old one or the new one, whole."""
    draft = path.with_suffix(path.suffix + ".tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _checksum(leaf: Any) -> str:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return f"{leaf.dtype} {_checksum(jax.random.key_data(leaf))}"
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return f"{leaf.dtype}{list(leaf.shape)}"
    array = np.asarray(leaf)
    return f"{array.dtype}{list(array.shape)} crc32 {zlib.crc32(array.tobytes()):08x}"


def _shown(values: dict[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "(absent)"
