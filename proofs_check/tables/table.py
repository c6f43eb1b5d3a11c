"""A table of promises: words alone, every number on the page comes from the records of the statements that it names."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A system, and what is promised of it."""

    system: str
    why: str
    """What makes it differ from synchronous SGD."""
    papers: str
    """As the papers have it; empty where they have no such form."""
    proved: str
    """As it is proved here; empty where the papers' form cannot be improved on."""
    ids: tuple[str, ...]
    """The statements that measure it."""


class Table(NamedTuple):
    """Rows of one theory."""

    title: str
    about: str
    """What is bounded, and by whom."""
    symbols: str
    headings: tuple[str, str, str]
    """Of the columns before the measurements: the system, the papers, what is proved here."""
    parts: tuple[tuple[str, tuple[Row, ...]], ...]
    """(heading, rows) of each part."""
