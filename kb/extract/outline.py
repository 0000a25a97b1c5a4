"""Outline entries, and the places in the text where their sections start."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kb.extract.clean import clean
from kb.types import Section

__all__ = ["OutlineEntry", "PlacedEntry", "outline_paths", "place_sections"]

_WORDS = re.compile(r"\w+")
_NUMBER_LINES = re.compile(r"\s*(?:[^\W\d_]{1,12}\s)?[0-9IVXLC.]{1,8}[.:]?\s*")
_NUMBER_WORDS = 2  # "3.5", or "Chapter 3."


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
    lower = text.lower()
    position = 0
    for entry in entries:
        found = _find_heading(lower, entry.path[-1].lower(), position)
        offset, end = found or (position, position)
        if _NUMBER_LINES.fullmatch(text, position, offset):
            offset = position  # "Chapter 2" stands on a line of its own above its title
        position = end
        while sections and sections[-1].offset >= offset:
            sections.pop()
        if not sections or sections[-1].path != entry.path:
            sections.append(Section(offset, entry.path))
    return tuple(sections), sections[-1].path if sections else continued


def _find_heading(text: str, title: str, start: int) -> tuple[int, int] | None:
    """Where the line starts that begins with `title`, a number before it or not, and where the line after it starts.

    A line that holds nothing else is better than one that goes on; a title over several lines is found as well.
    """
    best: tuple[int, int] | None = None
    at = text.find(title, start)
    while at >= 0:
        line_start, line_end = text.rfind("\n", 0, at) + 1, text.find("\n", at + len(title))
        line_end = len(text) if line_end < 0 else line_end
        if line_start >= start and len(text[line_start:at].split()) <= _NUMBER_WORDS:
            best = best or (line_start, line_end)
            if not text[at + len(title) : line_end].strip():
                return line_start, line_end
        at = text.find(title, at + 1)
    return best or _find_words(text, title, start)


def _find_words(text: str, title: str, start: int) -> tuple[int, int] | None:
    """As `_find_heading`, for a title that the page has with other spaces, line ends or punctuation."""
    words = [re.escape(word) for word in _WORDS.findall(title)]
    if not words:
        return None
    match = re.compile(r"^(?:\S+ ){0,2}?" + r"\W{0,3}".join(words) + r"\b", re.M).search(text, start)
    return match.span() if match else None
