"""Lines put together as a page's text: a newline between lines, an empty line between paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from kb.extract.layout import Line

__all__ = ["page_text"]

_PARAGRAPH_GAP = 1.35  # times the page's usual distance between lines
_LARGER = 1.15  # a line this much taller than the one beside it is a heading


def page_text(lines: Sequence[Line]) -> str:
    """The text of cleaned `lines` in reading order. A line stays a line, so that the rows of a table stay apart."""
    if not lines:
        return ""
    return "".join(_pieces(lines, _usual_step(lines)))


def _pieces(lines: Sequence[Line], step: float) -> Iterator[str]:
    before = lines[0]
    yield before.text
    for line in lines[1:]:
        yield _separator(before, line, step)
        yield line.text
        before = line


def _separator(before: Line, line: Line, step: float) -> str:
    drop = before.bottom - line.bottom
    if abs(drop) < 0.3 * line.height and line.left >= before.right - 1:
        return " "  # the same row, which the engine gave in pieces
    if drop < 0 or drop > _PARAGRAPH_GAP * max(step, line.height * 0.9):
        return "\n\n"  # up to another column or block, or down over a gap
    larger, smaller = max(before.height, line.height), min(before.height, line.height)
    return "\n\n" if larger > _LARGER * smaller and drop > 0.5 * smaller else "\n"


def _usual_step(lines: Sequence[Line]) -> float:
    steps = [a.bottom - b.bottom for a, b in pairwise(lines) if a.bottom > b.bottom]
    return median(steps) if steps else 0.0
