"""Checkpoints of a run: any tree of arrays, by orbax, one folder for each step that was saved.

A checkpoint appears under its name only when it is complete, so that a process may die at any moment; what it leaves
half-written is cleared by the next one. Leaves are stored under their paths in the tree and read back into a template,
which gives named tuples, empty subtrees, typed keys and placement on devices.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from elastic_jax.base import PyTree

UNFINISHED = ".orbax-checkpoint-tmp"
"""What orbax puts into the name of a checkpoint that is being written."""


class Checkpoints:
    """The checkpoints in one folder, the newest `num_kept` of them; a context that waits for the last one."""

    def __init__(self, folder: Path, *, num_kept: int = 2) -> None:
        """Opens `folder`, makes it if need be, and clears what an earlier process left half-written."""
        folder = self.folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        clear_unfinished(folder)
        self._manager = ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(max_to_keep=num_kept))

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """The steps of which there is a complete checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def save(self, num_steps: int, tree: PyTree) -> None:
        """Save `tree` as of `num_steps`; returns when the leaves may be donated, before all is on disk."""
        if num_steps not in self.steps():
            self._manager.save(num_steps, args=ocp.args.StandardSave(_by_path(tree)))

    def wait(self) -> None:
        """Returns when every checkpoint is complete."""
        self._manager.wait_until_finished()

    def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
        """The newest checkpoint that can be read: (num_steps, tree); None if there is none.

        One that cannot be read is passed over with a warning for the one before it.

        Args:
            template: a tree of arrays or `jax.ShapeDtypeStruct`s like the one saved; where these have a sharding, the
                leaves are placed by it.

        Raises:
            ValueError: if there are checkpoints, and none can be read.
        """
        steps = self.steps()
        failure: Exception | None = None
        for num_steps in reversed(steps):
            try:
                found = self._manager.restore(num_steps, args=ocp.args.StandardRestore(_by_path(template)))
            except Exception as error:  # orbax raises what its storage raises, of many types
                failure = error
                warnings.warn(
                    f"checkpoint {num_steps} cannot be read ({type(error).__name__}); trying the one before it",
                    RuntimeWarning,
                    stacklevel=2,
                )
                continue
            leaves = [found[name] for name in _by_path(template)]
            return num_steps, jax.tree.unflatten(jax.tree.structure(template), leaves)
        if failure is not None:
            raise ValueError(f"none of the checkpoints {steps} can be read; the last error is above") from failure
        return None


def clear_unfinished(folder: Path) -> None:
    """Remove checkpoints that were never completed: no later save would."""
    for path in folder.glob(f"*{UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _by_path(tree: PyTree) -> dict[str, Any]:
    """The leaves by number and path, e.g. '003.state.local_params.kernel', in the order of the tree."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        f"{position:03d}.{jax.tree_util.keystr(path, simple=True, separator='.')}".replace("/", "|"): leaf
        for position, (path, leaf) in enumerate(found)
    }
