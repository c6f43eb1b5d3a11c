"""CIFAR-10 and CIFAR-100: the official binary version, or the official pickles.

An example of the binary version is its label (CIFAR-10: 1 byte; CIFAR-100: coarse label, then fine label) and
3,072 bytes of image: the red plane, the green and the blue one, each 32 × 32 by rows. The pickles hold the
same bytes as a dict, with keys of bytes or str by the Python that reads or wrote them. Of CIFAR-100 the fine
labels are the targets.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from elastic_jax.data import pickles
from elastic_jax.data.dataset import Dataset, check_labels, find_folder, remedy

IMAGE_BYTES = 3 * 32 * 32


class Variant(NamedTuple):
    """How one of the two data sets lies on disk; pickles have the same names without `.bin`."""

    folders: tuple[str, ...]
    train_files: tuple[str, ...]
    test_file: str
    label_key: str
    """Of the pickled dict."""
    label_limits: tuple[int, ...]
    """Number of values of each label byte; the last one is the target."""
    num_examples: tuple[int, int]


VARIANTS = {
    "cifar10": Variant(
        folders=("cifar-10-batches-bin", "cifar-10-batches-py", "cifar10"),
        train_files=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test_file="test_batch",
        label_key="labels",
        label_limits=(10,),
        num_examples=(50_000, 10_000),
    ),
    "cifar100": Variant(
        folders=("cifar-100-binary", "cifar-100-python", "cifar100"),
        train_files=("train",),
        test_file="test",
        label_key="fine_labels",
        label_limits=(20, 100),
        num_examples=(50_000, 10_000),
    ),
}


def load(name: str, root: Path) -> Dataset:
    """CIFAR-10 ("cifar10") or CIFAR-100 ("cifar100"): 50,000 and 10,000 images uint8[32, 32, 3]."""
    variant = VARIANTS[name]
    folder = find_folder(name, root, variant.folders, partial(_holds, variant=variant))
    how = remedy(name, root)
    suffix = ".bin" if _holds(folder, variant, suffixes=(".bin",)) else ""
    parts = [read(folder / f"{stem}{suffix}", variant, how) for stem in variant.train_files]
    test_images, test_labels = read(folder / f"{variant.test_file}{suffix}", variant, how)
    train_images = np.concatenate([images for images, _ in parts])
    train_labels = np.concatenate([labels for _, labels in parts])
    counts = (len(train_labels), len(test_labels))
    if counts != variant.num_examples:
        raise ValueError(
            f"{folder}: {counts} training and test images, must be {variant.num_examples}: a file is truncated; {how}"
        )
    return Dataset(name, train_images, train_labels, test_images, test_labels, variant.label_limits[-1])


def read(path: Path, variant: Variant, how: str = "replace the file") -> tuple[np.ndarray, np.ndarray]:
    """Images uint8[m, 32, 32, 3] and targets int32[m] of one file, binary if it ends in .bin, else a pickle.

    Args:
        path: the file.
        variant: one of `VARIANTS`.
        how: the remedy that an error ends with.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, corrupt, or a pickle of anything but arrays of bytes, lists, dicts and text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {how}")
    planes, labels = (_read_binary if path.suffix == ".bin" else _read_pickle)(path, variant, how)
    for column, limit in zip(labels.T, variant.label_limits[-labels.shape[1] :], strict=True):
        check_labels(column, limit, path, how)
    images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels[:, -1].astype(np.int32)


def _read_binary(path: Path, variant: Variant, how: str) -> tuple[np.ndarray, np.ndarray]:
    num_labels = len(variant.label_limits)
    row = num_labels + IMAGE_BYTES
    size = path.stat().st_size
    if size == 0 or size % row:
        raise ValueError(f"{path} is truncated or corrupt: {size} bytes, must be a multiple of {row}; {how}")
    rows = np.fromfile(path, np.uint8).reshape(-1, row)
    return rows[:, num_labels:], rows[:, :num_labels]


def _read_pickle(path: Path, variant: Variant, how: str) -> tuple[np.ndarray, np.ndarray]:
    batch = pickles.load(path, how)
    entries = {_text(key): value for key, value in batch.items()} if isinstance(batch, dict) else {}
    if "data" not in entries or variant.label_key not in entries:
        raise ValueError(f"{path}: no 'data' and {variant.label_key!r} in it but {sorted(entries)}; {how}")
    data, labels = entries["data"], entries[variant.label_key]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != IMAGE_BYTES:
        raise ValueError(f"{path} is corrupt: 'data' is no array of shape [m, {IMAGE_BYTES}]; {how}")
    is_list = isinstance(labels, list) and all(type(label) is int for label in labels)
    if not is_list and not (isinstance(labels, np.ndarray) and labels.ndim == 1):
        raise ValueError(f"{path} is corrupt: {variant.label_key!r} is no list of integers; {how}")
    if not len(data) or len(labels) != len(data):
        raise ValueError(f"{path} is corrupt: {len(data)} images and {len(labels)} labels; {how}")
    try:
        return data, np.asarray(labels, np.int64)[:, None]
    except OverflowError:
        raise ValueError(f"{path} is corrupt: a label has more than 63 bits; {how}") from None


def _text(key: object) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _holds(folder: Path, variant: Variant, suffixes: tuple[str, ...] = (".bin", "")) -> bool:
    stems = (*variant.train_files, variant.test_file)
    return any((folder / f"{stem}{suffix}").is_file() for stem in stems for suffix in suffixes)
