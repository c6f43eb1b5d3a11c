"""Pairs of translated sentences out of the help pages of LibreOffice, English and German.

Both languages have the same pages, generated from one source: a paragraph or heading is `<p id=...>` or
`<h1 id=...>` with the same id on both sides, a few without. Where all of a page have the same tags and ids in the
same order, those in the same place are a pair; where a language has sorted its sections anew, those are whose id is
found once on either side.

It is software-manual language, with few words and many repetitions: WMT-like in its format, and far easier.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ENGLISH, GERMAN = "en-US", "de"
PAIRS = "pairs.tsv"
"""The file that is written: page, English, German, between tabs; a pair a line."""
MIN_PAGES, MIN_PAIRS = 2000, 25_000
"""Fewer are not the help pages that are known: 2,559 and 32,737 in LibreOffice 7.4."""
MAX_WORDS = 40
MAX_RATIO = 3.0
"""Of the characters of the longer side to those of the shorter one."""

_BLOCK = re.compile(r"<(p|h[1-6])\b([^>]*)>(.*?)</\1>", re.DOTALL)
_ID = re.compile(r'\bid="([^"]*)"')
_CODE = re.compile(r'\bclass="[^"]*code[^"]*"')
_TAG = re.compile(r"<[^>]*>")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


class Pair(NamedTuple):
    """A sentence and its translation."""

    page: str
    source: str
    target: str


class Block(NamedTuple):
    """A paragraph or a heading."""

    tag: str
    id: str | None
    text: str
    """Cleaned; empty for program code."""


def write(content: Path, folder: Path) -> None:
    """Writes `PAIRS` into `folder`, from the folder `help` of the packages, which has one for each language.

    Raises:
        FileNotFoundError: a language is not there.
        ValueError: fewer pages or pairs than there must be.
    """
    found = list(raw_pairs(content))
    num_pages = len({pair.page for pair in found})
    kept = cleaned(found)
    if num_pages < MIN_PAGES or len(kept) < MIN_PAIRS:
        raise ValueError(
            f"{content} has {num_pages} pages with {len(kept)} pairs, must be at least {MIN_PAGES} with {MIN_PAIRS}; "
            "the layout of the pages has changed"
        )
    lines = "".join("\t".join(pair) + "\n" for pair in kept)
    (folder / PAIRS).write_text(lines, encoding="utf-8", newline="\n")


def raw_pairs(content: Path) -> Iterator[Pair]:
    """All pairs of the pages that both languages have, page by page in the order of their names."""
    for language in (ENGLISH, GERMAN):
        if not (content / language).is_dir():
            raise FileNotFoundError(2, "no such folder", str(content / language))
    for path in sorted((content / ENGLISH).rglob("*.html")):
        name = path.relative_to(content / ENGLISH)
        other = content / GERMAN / name
        if other.is_file():
            texts = (file.read_text(encoding="utf-8") for file in (path, other))
            for source, target in aligned(*map(blocks, texts)):
                yield Pair(name.with_suffix("").as_posix(), source, target)


def blocks(page: str) -> list[Block]:
    """The paragraphs and headings between the frames of a page, first to last."""
    begin = page.find('id="DisplayArea"')
    end = page.find('<div id="SearchFrame"', begin)
    if begin < 0 or end < 0:
        return []
    return [
        Block(
            match[1],
            found[1] if (found := _ID.search(match[2])) else None,
            "" if _CODE.search(match[2]) else clean(match[3]),
        )
        for match in _BLOCK.finditer(page, begin, end)
    ]


def clean(markup: str) -> str:
    """The text of a piece of HTML: no tags, entities or invisible characters, one blank between words."""
    text = html.unescape(_TAG.sub("", markup))
    return " ".join(unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).split())


def aligned(sources: list[Block], targets: list[Block]) -> list[tuple[str, str]]:
    """The texts of the blocks of one page that belong together."""
    if [block[:2] for block in sources] == [block[:2] for block in targets]:
        return [(source.text, target.text) for source, target in zip(sources, targets, strict=True)]
    singles = [
        {id: block for block in side if (id := block.id) is not None and ids[id] == 1}
        for side in (sources, targets)
        for ids in [Counter(block.id for block in side)]
    ]
    return [
        (source.text, target.text)
        for id, source in singles[0].items()
        if (target := singles[1].get(id)) is not None and target.tag == source.tag
    ]


def cleaned(pairs: list[Pair]) -> list[Pair]:
    """The pairs that are sentences: one for each English side, on the first page that has it.

    Letters on both sides, at most `MAX_WORDS` words on each, lengths within `MAX_RATIO`, and sides that differ: what
    is the same in both languages is a name or a formula. Of several translations the one that occurs most often is
    kept, of equals the first.
    """
    counts: dict[str, Counter[str]] = {}
    pages: dict[str, str] = {}
    for pair in pairs:
        if is_sentence(pair):
            counts.setdefault(pair.source, Counter())[pair.target] += 1
            pages.setdefault(pair.source, pair.page)
    # a Counter and its most_common keep equals in the order in which they came
    return [Pair(pages[source], source, targets.most_common(1)[0][0]) for source, targets in counts.items()]


def is_sentence(pair: Pair) -> bool:
    """What `cleaned` says of a single pair."""
    source, target = pair.source, pair.target
    lengths = sorted([len(source), len(target)])
    return (
        all(any(map(str.isalpha, side)) for side in (source, target))
        and all(len(side.split()) <= MAX_WORDS for side in (source, target))
        and lengths[1] <= MAX_RATIO * lengths[0]
        and source != target
    )
