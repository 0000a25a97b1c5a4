"""Headings of a document without an outline (70 % of ordinary ones), told by the size of their letters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from kb.extract.layout import Line, RawPage
from kb.extract.outline import OutlineEntry

__all__ = ["infer_outline"]

_LARGER = 1.2  # times the size of the body's letters
_LONGEST = 120  # letters of a heading
_MOST_SHARE = 0.1  # of the document's text that can be headings; above it the sizes mean something else
_FEWEST = 3
_LEVELS = 3
_LETTERS = re.compile(r"[^\W\d_]{3}")


def infer_outline(pages: Sequence[RawPage]) -> list[OutlineEntry]:
    """The lines set larger than the body, by the rank of their size; empty where that gives no clear picture."""
    letters_by_size: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            letters_by_size[_size(line)] += len(line.text)
    if not letters_by_size:
        return []
    body = letters_by_size.most_common(1)[0][0]
    found = [(page.number, line) for page in pages for line in _headings(page.lines, body)]
    letters = sum(len(line.text) for _, line in found)
    if body <= 0 or len(found) < _FEWEST or letters > _MOST_SHARE * letters_by_size.total():
        return []
    sizes = sorted({_size(line) for _, line in found}, reverse=True)
    levels = {size: min(rank, _LEVELS - 1) for rank, size in enumerate(sizes)}
    return [OutlineEntry(levels[_size(line)], line.text, number) for number, line in found]


def _size(line: Line) -> float:
    return round(line.height * 2) / 2


def _headings(lines: Sequence[Line], body: float) -> Iterator[Line]:
    """The larger lines, those that follow one another in one size as one heading."""
    heading: Line | None = None
    for line in lines:
        if _size(line) < _LARGER * body:
            if heading:
                yield from _if_heading(heading)
            heading = None
        elif heading and _size(line) == _size(heading) and 0 < heading.bottom - line.bottom < 2 * line.height:
            heading = line._replace(text=f"{heading.text} {line.text}")
        else:
            if heading:
                yield from _if_heading(heading)
            heading = line
    if heading:
        yield from _if_heading(heading)


def _if_heading(line: Line) -> Iterator[Line]:
    if len(line.text) <= _LONGEST and _LETTERS.search(line.text):
        yield line
