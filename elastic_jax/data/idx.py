"""MNIST and Fashion-MNIST: four files in the IDX format, plain or compressed with gzip.

The format: two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of axes, then the
length of each axis as a big-endian 32-bit integer, then the bytes, last axis fastest.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits"; H. Xiao, K. Rasul,
R. Vollgraf, "Fashion-MNIST", 2017, arXiv:1708.07747, which keeps the format and the file names.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from elastic_jax.data import checksums
from elastic_jax.data.dataset import Dataset, check_labels, find_folder, remedy

FOLDERS = {
    "mnist": ("mnist", "MNIST/raw", "MNIST"),
    "fashion_mnist": ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
}
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NUM_EXAMPLES = (60_000, 10_000)
IMAGE_SHAPE = (28, 28)
_CHUNK = 1 << 20


def load(name: str, root: Path) -> Dataset:
    """MNIST or Fashion-MNIST: 60,000 and 10,000 images uint8[28, 28, 1], 10 labels."""
    folder = find_folder(name, root, FOLDERS[name], _holds_idx)
    how = remedy(name, root)
    train_images, train_labels, test_images, test_labels = (_read_of(folder, stem, how) for stem in FILES)
    for stem, images, labels, expected in (
        (FILES[0], train_images, train_labels, NUM_EXAMPLES[0]),
        (FILES[2], test_images, test_labels, NUM_EXAMPLES[1]),
    ):
        path = _path(folder, stem)
        if images.shape[1:] != IMAGE_SHAPE or labels.ndim != 1:
            raise ValueError(
                f"{path}: images of shape {list(images.shape[1:])} and labels of shape {list(labels.shape)}, "
                f"must be {list(IMAGE_SHAPE)} and one axis; is this another data set? {how}"
            )
        if len(images) != len(labels) or len(images) != expected:
            raise ValueError(
                f"{path}: {len(images)} images and {len(labels)} labels, must be {expected} of each; {how}"
            )
        check_labels(labels, 10, path, how)
    _check_is(name, _path(folder, FILES[1]), train_labels, how)
    return Dataset(
        name=name,
        train_inputs=train_images[..., None],
        train_targets=train_labels.astype(np.int32),
        test_inputs=test_images[..., None],
        test_targets=test_labels.astype(np.int32),
        num_classes=10,
    )


def read(path: str | Path, how: str = "replace the file") -> np.ndarray:
    """The array in an IDX file of unsigned bytes; a name that ends in .gz is decompressed.

    Args:
        path: the file.
        how: the remedy that an error ends with.

    Returns:
        uint8, as many axes as the file says.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not IDX, of another type than unsigned bytes, or not as long as its header says.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(file, path, how)  # type: ignore[arg-type]  # GzipFile is binary here
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; {how}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or corrupt ({error}); {how}") from error


def _read(file: BinaryIO, path: Path, how: str) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"{path} is not an IDX file: it begins with {magic!r}, must be two zero bytes; {how}")
    kind, num_axes = magic[2], magic[3]
    if kind != 8 or not 1 <= num_axes <= 4:
        raise ValueError(
            f"{path}: IDX type {kind:#04x} with {num_axes} axes; must be unsigned bytes (0x08) with 1 to 4; {how}"
        )
    header = file.read(4 * num_axes)
    if len(header) < 4 * num_axes:
        raise ValueError(f"{path} is truncated: it ends inside its header; {how}")
    shape = struct.unpack(f">{num_axes}I", header)
    # By pieces and never past the declared end: a damaged header can ask for exabytes, and a compressed
    # file can hide them.
    remaining = math.prod(shape) + 1
    pieces = []
    while remaining and (piece := file.read(min(remaining, _CHUNK))):
        pieces.append(piece)
        remaining -= len(piece)
    content = b"".join(pieces)
    if remaining != 1:
        state = "truncated" if remaining else "corrupt"
        held = len(content) if remaining else f"more than {len(content) - 1}"
        raise ValueError(
            f"{path} is {state}: {held} bytes of data, its header promises {math.prod(shape)} for shape "
            f"{list(shape)}; {how}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _path(folder: Path, stem: str) -> Path:
    """The plain file where it is, else the compressed one; -idx3- and .idx3- both occur in names."""
    for name in (stem, f"{stem}.gz", stem.replace("-idx", ".idx")):
        if (folder / name).exists():
            return folder / name
    return folder / stem


def _read_of(folder: Path, stem: str, how: str) -> np.ndarray:
    return read(_path(folder, stem), how)


def _holds_idx(folder: Path) -> bool:
    return any(_path(folder, stem).exists() for stem in FILES)


def _check_is(name: str, path: Path, labels: np.ndarray, how: str) -> None:
    """Tells MNIST from Fashion-MNIST, which share names and shapes, by the hash of 60 kB of labels."""
    header = struct.pack(">HBBI", 0, 8, 1, len(labels))
    content = hashlib.sha256(header + labels.tobytes()).hexdigest()
    for other, files in checksums.CONTENT_SHA256.items():
        if other != name and files.get(FILES[1]) == content:
            raise ValueError(f"{path} belongs to {other}, not to {name}; {how}")
