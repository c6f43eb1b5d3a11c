"""Text files in the format of LIBSVM and SVMlight: `label index:value index:value ...`, one example a line.

Source: C.-C. Chang, C.-J. Lin, "LIBSVM: a library for support vector machines", ACM TIST 2011, and the page
of data sets beside it. Values are as in the file: nothing is scaled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from elastic_jax import arguments
from elastic_jax.data import checksums
from elastic_jax.data.dataset import Dataset, remedy, stratified_test

MAX_DENSE_BYTES = 8 << 30


def load(name: str, root: Path, how: str | None = None) -> Dataset:
    """The set `name` of the LIBSVM site, from root/libsvm or root; must have the published shape."""
    known = checksums.LIBSVM[name]
    how = how or remedy(name, root)
    folder = next((f for f in (root / "libsvm", root) if (f / known.files[0]).is_file()), root / "libsvm")
    paths = [folder / file for file in known.files]
    dataset = load_path(*paths, num_features=known.num_features, how=how, name=name)
    counts = _counts(dataset, num_files=len(paths))
    if counts != known.num_examples:
        raise ValueError(
            f"{paths[0]}: {counts} examples, must be {known.num_examples}: truncated, or another file; {how}"
        )
    return dataset


def load_path(
    path: str | os.PathLike[str],
    test_path: str | os.PathLike[str] | None = None,
    *,
    num_features: int | None = None,
    test_every: int | None = 5,
    name: str | None = None,
    how: str = "replace the file",
) -> Dataset:
    """A LIBSVM text file (also .gz, .bz2) as a dense data set.

    Args:
        path: the training examples.
        test_path: the test examples; by default the file of the same name with `.t` behind it, where there is
            one.
        num_features: d; default the largest index. Indices start at 1, or at 0 where a 0 occurs.
        test_every: without a test file, the last of every `test_every` examples of a label is a test example,
            or for regression of all of them; None: no test examples.
        name: of the data set; default the file's.
        how: the remedy that an error ends with.

    Returns:
        Inputs float32[m, d]. Labels are numbered 0, 1, ... in rising order (-1 becomes 0, +1 becomes 1) if
        they are at most 1,000 different whole numbers; otherwise the set is one for regression: `num_classes`
        is 0 and targets are float32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not in this format, a feature that is not finite, or too large to be dense (over 8 GiB).
    """
    from sklearn.datasets import load_svmlight_files  # slow to import, and few need it

    path = Path(path).expanduser()
    beside = path.with_name(path.name + ".t")
    if test_path is None and beside.is_file():
        test_path = beside
    paths = [path] if test_path is None else [path, Path(test_path).expanduser()]
    if num_features is not None:
        num_features = arguments.integer("num_features", num_features, low=1)
    for file in paths:
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; {how}")
    try:
        loaded = load_svmlight_files([os.fspath(file) for file in paths], n_features=num_features)
    except (ValueError, OverflowError, OSError, EOFError) as error:
        raise ValueError(f"{' or '.join(map(str, paths))} is truncated or no LIBSVM text ({error}); {how}") from error
    inputs = [_dense(matrix, file, how) for matrix, file in zip(loaded[::2], paths, strict=True)]
    targets = loaded[1::2]
    for file, features, values in zip(paths, inputs, targets, strict=True):
        if not len(values) or not np.isfinite(features).all() or not np.isfinite(values).all():
            raise ValueError(f"{file} is corrupt: it holds {len(values)} examples, or numbers not finite; {how}")
    if len(paths) == 1:
        is_test = np.zeros(len(targets[0]), bool)
        if test_every is not None:
            every = arguments.integer("test_every", test_every, low=2)
            is_test = stratified_test(targets[0] if _is_labels(targets[0]) else np.zeros(len(targets[0])), every=every)
        inputs = [inputs[0][~is_test], inputs[0][is_test]]
        targets = [targets[0][~is_test], targets[0][is_test]]
    name = path.name if name is None else name
    everything = np.concatenate(targets)
    if not _is_labels(everything):
        train_targets, test_targets = (values.astype(np.float32) for values in targets)
        return Dataset(name, inputs[0], train_targets, inputs[1], test_targets, 0)
    labels = np.unique(everything)
    train_targets, test_targets = (np.searchsorted(labels, values).astype(np.int32) for values in targets)
    return Dataset(name, inputs[0], train_targets, inputs[1], test_targets, len(labels))


def _dense(matrix: Any, path: Path, how: str) -> np.ndarray:
    size = 4 * matrix.shape[0] * matrix.shape[1]
    if size > MAX_DENSE_BYTES:
        raise ValueError(
            f"{path}: {matrix.shape[0]} x {matrix.shape[1]} dense float32 are {size / 2**30:.1f} GiB, must "
            f"be at most {MAX_DENSE_BYTES >> 30}; if its largest index is wrong, {how}"
        )
    return matrix.astype(np.float32).toarray()


def _is_labels(targets: np.ndarray) -> bool:
    return bool((targets == np.round(targets)).all()) and len(np.unique(targets)) <= 1000


def _counts(dataset: Dataset, *, num_files: int) -> tuple[int, ...]:
    counts = (len(dataset.train_targets), len(dataset.test_targets))
    return counts if num_files == 2 else (sum(counts),)
