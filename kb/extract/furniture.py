"""Running headers and footers, and page numbers: what stands in the same place on page after page.

Nothing goes by its place alone: a first line that is not repeated is a title or the row of a table.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter

from kb.extract.layout import Line, RawPage

__all__ = ["remove_furniture"]

_FEWEST_PAGES = 4  # with text; in a shorter document a repeated line may mean something
_OUTERMOST = 4  # lines at the top and at the bottom of a page that are looked at
_FEWEST_REPEATS = 3  # of a line
_REPEATED_SHARE = 0.05  # of the pages at least: a head that names a short section says something, and stays
_FEWEST_LINES = 3  # a page with less than this is left alone
_SAME_HEIGHT = 3.0  # points between lines of one slot, on different pages
_NUMBER = re.compile(r"[0-9]{1,9}")
_ROMAN = re.compile(r"[ivxlc]+")
_NUMBER_HERE = "#"
_BOTTOM = attrgetter("bottom")

_Place = tuple[int, Line]  # index of the page, line


def remove_furniture(pages: Sequence[RawPage]) -> None:
    """Take the lines away, in place, that repeat at the top or bottom of more than half of the pages.

    Page numbers count as the same. A head that changes from chapter to chapter, or from left to right, is told by its
    place: more than half of the pages have a line at that height that other pages have as well.
    """
    looked_at = [index for index, page in enumerate(pages) if len(page.lines) >= _FEWEST_LINES]
    if len(looked_at) < _FEWEST_PAGES:
        return
    dropped: dict[int, set[int]] = defaultdict(set)
    for places in _outermost(looked_at, pages):
        for slot in _slots(places):
            for index, line in _repeated(slot, pages, len(looked_at)):
                dropped[index].add(id(line))
    for index, lines in dropped.items():
        kept = [line for line in pages[index].lines if id(line) not in lines]
        if kept:
            pages[index].lines = kept


def _outermost(looked_at: Sequence[int], pages: Sequence[RawPage]) -> tuple[list[_Place], list[_Place]]:
    """The lines at the top and those at the bottom of each page, by their height."""
    tops: list[_Place] = []
    bottoms: list[_Place] = []
    for index in looked_at:
        ordered = sorted(pages[index].lines, key=_BOTTOM)
        bottoms += [(index, line) for line in ordered[:_OUTERMOST]]
        tops += [(index, line) for line in ordered[-_OUTERMOST:]]
    return tops, bottoms


def _slots(places: Sequence[_Place]) -> list[list[_Place]]:
    """The places in groups of one height."""
    ordered = sorted(places, key=lambda place: place[1].bottom)
    slots = [ordered[:1]]
    for (_, below), place in pairwise(ordered):
        if place[1].bottom - below.bottom > _SAME_HEIGHT:
            slots.append([])
        slots[-1].append(place)
    return slots


def _repeated(slot: Sequence[_Place], pages: Sequence[RawPage], page_count: int) -> list[_Place]:
    """The lines of a slot that repeat, where such lines stand on more than half of the pages."""
    if len({index for index, _ in slot}) <= page_count / 2:
        return []
    groups: dict[str, list[_Place]] = defaultdict(list)
    for index, line in slot:
        groups[_skeleton(line.text, pages[index])].append((index, line))
    repeated = [_regular(places, pages) for places in groups.values() if len(places) > 1]
    if len({index for places in repeated for index, _ in places}) <= page_count / 2:
        return []
    often = max(_FEWEST_REPEATS, _REPEATED_SHARE * page_count)
    return [place for places in repeated if len(places) >= often for place in places]


def _skeleton(text: str, page: RawPage) -> str:
    """A line's text, folded and without its numbers."""
    folded = " ".join(text.casefold().split())
    if _ROMAN.fullmatch(folded) and folded == page.label.casefold():
        return _NUMBER_HERE
    return _NUMBER.sub(_NUMBER_HERE, folded)


def _regular(places: Sequence[_Place], pages: Sequence[RawPage]) -> list[_Place]:
    """Of lines that differ in numbers only, those in which each number is the usual one or counts the pages."""
    numbers = [[int(number) for number in _NUMBER.findall(line.text)] for _, line in places]
    if not numbers[0]:
        return list(places)
    positions = [pages[index].number for index, _ in places]
    usual, offsets = [], []
    for column in zip(*numbers, strict=False):
        usual.append(_most_common(column))
        offsets.append(_most_common([value - at for value, at in zip(column, positions, strict=True)]))
    return [
        place
        for place, values, at in zip(places, numbers, positions, strict=True)
        if all(
            value == common or value - at == offset
            for value, common, offset in zip(values, usual, offsets, strict=False)
        )
    ]


def _most_common(values: Sequence[int]) -> int | None:
    """The value that occurs most often, if it occurs more than once."""
    value, count = Counter(values).most_common(1)[0]
    return value if count > 1 else None
