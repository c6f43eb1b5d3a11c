"""Data sets by name."""

from __future__ import annotations

import os
from pathlib import Path

from elastic_jax import arguments
from elastic_jax.data import checksums, cifar, digits, idx, libsvm, translation
from elastic_jax.data.dataset import Dataset, default_root


def names() -> tuple[str, ...]:
    """The names that `load` knows, sorted. All but "digits" are fetched first, see `fetch`."""
    return tuple(sorted(["digits", translation.HELP, *idx.FOLDERS, *cifar.VARIANTS, *checksums.LIBSVM]))


def load(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Dataset:
    """A data set, from files in the format in which it is published.

    Args:
        name: one of `names()`; or the path of a LIBSVM text file, absolute, relative, or relative to the
            root.
        root: folder that holds the data sets, or the files of this one; default $ELASTIC_JAX_DATA, or
            ~/.cache/elastic_jax. "digits" needs none.

    "help_en_de" is sentences as rows of tokens, for `problems.transformer`; see `load_translation`, which has the
    texts and the tokens besides.

    Raises:
        ValueError: an unknown name, or a truncated or corrupt file.
        FileNotFoundError: no such folder, or another one. Every error names the file and the remedy.

    Example:
        >>> from elastic_jax import data
        >>> digits = data.load("digits")
        >>> print(digits.train_inputs.shape, digits.test_inputs.shape, digits.num_classes)
        (1442, 8, 8, 1) (355, 8, 8, 1) 10
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(
            f"name = {name!r} is a {type(name).__name__}; it must be one of {', '.join(names())}, or a path"
        )
    folder = default_root(root)
    if name not in names():
        for path in (Path(name).expanduser(), folder / name):
            if path.is_file():
                return libsvm.load_path(path)
        if os.sep in str(name):
            raise FileNotFoundError(
                f"{name} is no file, neither here nor in {folder}; name a LIBSVM text file, or one of "
                f"{', '.join(names())}"
            )
    name = arguments.one_of("name", name, names())
    if name == "digits":
        return digits.load()
    if name == translation.HELP:
        return translation.load_translation(name, folder).dataset
    if name in idx.FOLDERS:
        return idx.load(name, folder)
    if name in cifar.VARIANTS:
        return cifar.load(name, folder)
    return libsvm.load(name, folder)
