"""Outline entries, and the places in the text where their sections start."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kb.extract.clean import clean
from kb.types import Section

__all__ = ["OutlineEntry", "PlacedEntry", "outline_paths", "place_sections"]

_WORDS = re.compile(r"\w+")


class OutlineEntry(NamedTuple):
    """A bookmark: its depth from 0, its title, the page it leads to (from 1), and the height there in points."""

    level: int
    title: str
    page: int
    top: float | None = None


class PlacedEntry(NamedTuple):
    """A section's path, outermost title first, and where the outline says that it starts."""

    path: tuple[str, ...]
    page: int
    top: float | None


def outline_paths(outline: Sequence[OutlineEntry]) -> list[PlacedEntry]:
    """The entries with their whole paths, in page order. Entries without a title are left out."""
    placed: list[PlacedEntry] = []
    path: list[tuple[int, str]] = []
    for entry in outline:
        title = " ".join(clean(entry.title).split())
        while path and path[-1][0] >= entry.level:
            path.pop()
        if title:
            path.append((entry.level, title))
            placed.append(PlacedEntry(tuple(name for _, name in path), entry.page, entry.top))
    return sorted(placed, key=lambda entry: entry.page)


def place_sections(
    text: str, continued: tuple[str, ...], entries: Sequence[PlacedEntry]
) -> tuple[tuple[Section, ...], tuple[str, ...]]:
    """The sections of a page whose `text` starts within `continued`, and the path in force at its end.

    A heading is sought after the one before it; one that is not in the text starts where that one did.
    """
    sections = [Section(0, continued)] if continued else []
    position = 0
    for entry in entries:
        found = _find_heading(text, entry.path[-1], position)
        offset = position if found is None else found[0]
        position = offset if found is None else found[1]
        while sections and sections[-1].offset >= offset:
            sections.pop()
        sections.append(Section(offset, entry.path))
    return tuple(sections), sections[-1].path if sections else continued


def _find_heading(text: str, title: str, start: int) -> tuple[int, int] | None:
    """Start and end of `title` at the start of a line of `text`, whatever numbers stand before it; else anywhere."""
    words = [re.escape(word) for word in _WORDS.findall(title)]
    if not words:
        return None
    heading = r"\W*".join(words)
    at_line_start = re.compile(rf"^(?:[^\w\n]*(?:\w{{1,8}}[.:)]?[^\w\n]+){{0,2}}?)({heading})\b", re.I | re.M)
    match = at_line_start.search(text, start) or re.compile(rf"\b{heading}\b", re.I).search(text, start)
    return (match.start(), match.end()) if match else None
