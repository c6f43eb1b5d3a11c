"""One file over HTTP: continued where it was cut, verified, and in its place only when whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""
_CHUNK = 1 << 18


def progress_bar(*, is_shown: bool) -> Progress:
    """The bar of a download; where the output is no terminal, rich prints its last state only."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, disable=not is_shown)


def download(
    url: str,
    path: Path,
    *,
    verify: Callable[[Path], str | None],
    progress: Progress,
    num_tries: int = 4,
    wait: float = 1.0,
) -> None:
    """Downloads `url` to `path`, by way of `path` with `.part` behind it, which outlives a failure.

    Args:
        url: http or https.
        path: where the verified file is put, in one move.
        verify: `verify(part) -> None`, or what is wrong with the file.
        progress: where the bar is shown.
        num_tries: >= 1, connections; each goes on where the last one was cut.
        wait: seconds before the second one, doubled before each further one.

    Raises:
        ConnectionError: not reached, refused, or cut in each try. What has arrived stays for the next call.
        ValueError: the whole file is not what it must be. It is removed.
    """
    part = path.with_name(path.name + ".part")
    task = progress.add_task(path.name, total=None)
    for attempt in range(num_tries):
        was_continued = part.exists()
        try:
            _receive(url, part, lambda done, total: progress.update(task, completed=done, total=total))
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, urllib.error.HTTPError):
                reason = f"the server answers {error.code} {error.reason}"
            if attempt + 1 == num_tries or not _may_pass(error):
                kept = f"; {part.stat().st_size} bytes are kept in {part}" if part.exists() else ""
                raise ConnectionError(f"{url}: {reason}{kept}") from error
            time.sleep(wait * 2**attempt)
            continue
        wrong = verify(part)
        if wrong is None:
            os.replace(part, path)
            return
        part.unlink()
        # What was continued may have begun as another file: once more, from nothing.
        if not was_continued or attempt + 1 == num_tries:
            raise ValueError(f"{url}: {wrong}; it is removed")


def digest(path: Path, algorithm: str) -> str:
    """The hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _receive(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    """Appends to `part` what it lacks; raises `ConnectionError` where the connection ends before the file."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "elastic-jax", "Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not done:
            raise
        # Nothing lies behind what is there: it is whole, or longer than the file.
        if _total(error.headers.get("Content-Range")) != done:
            part.unlink()
            raise ConnectionError("what was kept is longer than the file; it is removed") from error
        report(done, done)
        return
    with response:
        if response.status == 206:
            content_range = response.headers.get("Content-Range", "")
            if not content_range.startswith(f"bytes {done}-"):
                part.unlink()
                raise ConnectionError(f"asked for bytes from {done}, got {content_range!r}; what was kept is removed")
            total = _total(content_range)
        else:
            done = 0  # the server does not continue files: from the beginning
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if done else "wb") as file:
            report(done, total)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
    if total is not None and done != total:
        raise ConnectionError(f"cut after {done} of {total} bytes")


def _total(content_range: str | None) -> int | None:
    match = re.search(r"/(\d+)$", content_range or "")
    return int(match[1]) if match else None


def _may_pass(error: Exception) -> bool:
    """Whether another try within seconds can succeed: not without such a host, file, or disk space."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    is_refused = isinstance(error, ConnectionRefusedError)
    return isinstance(error, (http.client.HTTPException, ConnectionError, TimeoutError)) and not is_refused
