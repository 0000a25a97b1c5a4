"""Lines put together as a page's text: a newline between lines, an empty line between paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from kb.extract.layout import Line

__all__ = ["page_text"]

_PARAGRAPH_GAP = 1.35  # times the page's usual distance between lines
_LARGER = 1.15  # a line this much taller than the one beside it is a heading
_SAME_ROW = 0.3  # of a line's height
_INDENT = (0.5, 4.0)  # times a line's height
_SENTENCE_ENDS = '.!?:;”’"。！？)'


def page_text(lines: Sequence[Line]) -> str:
    """The text of cleaned `lines` in reading order. A line stays a line, so that the rows of a table stay apart."""
    if not lines:
        return ""
    step = _usual_step(lines)
    pieces = [lines[0].text]
    for index in range(1, len(lines)):
        pieces.append(_separator(lines[index - 1], lines[index], step))
        pieces.append(lines[index].text)
    return "".join(pieces)


def _separator(before: Line, line: Line, step: float) -> str:
    drop, height = before.bottom - line.bottom, line.top - line.bottom
    if abs(drop) < _SAME_ROW * height and line.left >= before.right - 1:
        return " "  # the same row, which the engine gave in pieces
    if drop < 0 or drop > _PARAGRAPH_GAP * max(step, height * 0.9):
        return "\n\n"  # up to another column or block, or down over a gap
    height_before = before.top - before.bottom
    if max(height_before, height) > _LARGER * min(height_before, height) and drop > 0.5 * min(height_before, height):
        return "\n\n"
    indent = line.left - before.left
    if _INDENT[0] * height < indent < _INDENT[1] * height and before.text[-1] in _SENTENCE_ENDS and len(line.text) > 30:
        return "\n\n"  # a first line set in, after a line that ends a sentence
    return "\n"


def _usual_step(lines: Sequence[Line]) -> float:
    bottoms = [line.bottom for line in lines]
    steps = [above - below for above, below in pairwise(bottoms) if above > below]
    return median(steps) if steps else 0.0
