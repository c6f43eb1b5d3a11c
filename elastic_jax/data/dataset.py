"""What a data set is in memory, where it lies on disk, and what to say when it does not."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elastic_jax import arguments

ROOT_VARIABLE = "ELASTIC_JAX_DATA"
"""The environment variable that names the folder of data sets."""


class Dataset(NamedTuple):
    """A data set with its training and its test part, in the memory of the host."""

    name: str
    train_inputs: np.ndarray
    """Images: [m, height, width, channels], uint8 as stored or float32 in [0, 1]. Features: float32[m, d]."""
    train_targets: np.ndarray
    """int32[m] in [0, num_classes); float32[m] where num_classes is 0."""
    test_inputs: np.ndarray
    """As `train_inputs`, first axis k."""
    test_targets: np.ndarray
    """As `train_targets`, first axis k."""
    num_classes: int
    """Number of labels; 0 for regression."""


def check(dataset: Any) -> Dataset:
    """`dataset`, whose parts must be arrays of numbers with one target for each input; raises if it is none."""
    arguments.instance("dataset", dataset, Dataset, 'e.g. data.load("digits")')
    arguments.integer("dataset.num_classes", dataset.num_classes, low=0)
    for part, fewest in (("train", 1), ("test", 0)):
        inputs, targets = (
            arguments.instance(f"dataset.{field}", getattr(dataset, field), np.ndarray, "numpy.asarray makes one")
            for field in (f"{part}_inputs", f"{part}_targets")
        )
        arguments.arrays(f"dataset.{part}_inputs", inputs)
        arguments.arrays(f"dataset.{part}_targets", targets)
        if not inputs.ndim or inputs.shape[:1] != targets.shape[:1] or len(inputs) < fewest:
            raise ValueError(
                f"dataset.{part}_inputs has shape {list(inputs.shape)} and its targets {list(targets.shape)}; "
                f"both must be [m, ...] with the same m >= {fewest}"
            )
    return dataset


def default_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of data sets: `root`, else $ELASTIC_JAX_DATA, else ~/.cache/elastic_jax."""
    if root is not None and not isinstance(root, (str, os.PathLike)):
        raise TypeError(f"root = {root!r} is a {type(root).__name__}; it must be the path of a folder, or None")
    return Path(root or os.environ.get(ROOT_VARIABLE) or Path("~/.cache/elastic_jax")).expanduser()


def remedy(name: str, root: Path) -> str:
    """What to do where a file of the data set `name` is missing or damaged: the command that gets it."""
    return f"get it with: elastic-jax data fetch {name} --root {shlex.quote(str(root))}"


def find_folder(name: str, root: Path, folders: Iterable[str], is_here: Callable[[Path], bool]) -> Path:
    """The first of root/folder, for the usual names `folders`, and `root` itself, that holds the data set.

    Raises:
        FileNotFoundError: no such folder; says where was looked, what was found there, and the remedy.
    """
    folders = list(folders)
    if not root.exists():
        raise FileNotFoundError(f"{name}: the folder {root} does not exist; {remedy(name, root)}")
    if not root.is_dir():
        raise NotADirectoryError(f"{name}: {root} is a file; it must be the folder that holds {folders[0]}")
    candidates = [*(root / folder for folder in folders), root]
    for candidate in candidates:
        if candidate.is_dir() and is_here(candidate):
            return candidate
    present = [candidate for candidate in candidates if candidate.is_dir()]
    found = "; ".join(f"{folder} holds {_listing(folder)}" for folder in present)
    raise FileNotFoundError(
        f"{name}: none of {', '.join(folders)} in {root} holds its files, nor does that folder itself "
        f"({found}); {remedy(name, root)}"
    )


def stratified_test(targets: np.ndarray, *, every: int = 5) -> np.ndarray:
    """bool[m]: the last of every `every` examples of each label, in the order of the data.

    A split without random numbers is the same for ever, whatever library draws them; each label has its share
    of it to within one example.
    """
    is_test = np.zeros(len(targets), bool)
    for label in np.unique(targets):
        is_test[np.flatnonzero(targets == label)[every - 1 :: every]] = True
    return is_test


def check_labels(labels: np.ndarray, num_classes: int, path: Path, how: str) -> None:
    """Raises `ValueError` where a label of the file `path` is not in [0, num_classes)."""
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"{path} is corrupt: labels in [{labels.min()}, {labels.max()}], must be in [0, {num_classes}); {how}"
        )


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return shown or "nothing"
