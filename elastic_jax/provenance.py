"""Where a figure comes from: machine, commit, versions."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

PACKAGES = ("elastic-jax", "jax", "jaxlib", "flax", "optax", "numpy")


def machine() -> str:
    """The devices and the processor, in words."""
    devices = jax.devices()
    processor = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform}), {processor}, {platform.system()}"


def commit() -> str:
    """The commit of the source tree, with '+' if it was changed since; 'unknown' outside one."""
    folder = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
