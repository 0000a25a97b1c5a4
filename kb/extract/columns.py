"""Reading order on pages with columns, where engines give the order of the file: footnotes before the body, say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import median

from kb.extract.layout import Line, RawPage

__all__ = ["order_columns"]

_BIN = 4.0  # points
_FEWEST_LINES = 12  # on a page that is looked at
_FEWEST_IN_COLUMN = 4
_NARROWEST_GUTTER = 2  # bins
_SPANNING_SHARE = 0.12  # of the lines may cross a gutter: titles, running heads, wide tables
_COLUMN_SHARE = 0.1  # of the lines at least on each side of one
_PROSE_LETTERS = 15  # median of a column's lines; cells of a table are shorter
_FULL_SHARE = 0.4  # of a column's lines reach over most of its width
_SAME_ROW = 0.4  # of a line's height

_Gutter = tuple[float, float]


def order_columns(page: RawPage) -> None:
    """Put the lines of `page`, in place, into the order in which a person reads them, where it has columns of prose."""
    lines = page.lines
    if len(lines) < _FEWEST_LINES or page.width <= 0:
        return
    half = page.width / 2
    if sum(line.right - line.left > half for line in lines) > _SPANNING_SHARE * len(lines):
        return
    gutters = [gutter for gutter in _gutters(lines, page.width) if _has_sides(lines, gutter)]
    if gutters and all(_is_prose(column) for column in _columns(lines, gutters)):
        page.lines = _in_order(lines, gutters)


def _gutters(lines: Sequence[Line], width: float) -> list[_Gutter]:
    """Stretches of the page's width that few lines cross, from the left."""
    bins = int(width / _BIN) + 2
    changes = [0] * (bins + 1)
    for line in lines:
        start, end = int(line.left / _BIN), int(line.right / _BIN) + 1
        if 0 <= start < end < bins:
            changes[start] += 1
            changes[end] -= 1
    most = _SPANNING_SHARE * len(lines)
    low = [index for index, count in enumerate(accumulate(changes)) if count <= most]
    runs: list[list[int]] = []
    for index in low:
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    inner = [run for run in runs if run[0] > 0 and run[1] < bins - 1]
    return [(a * _BIN, (b + 1) * _BIN) for a, b in inner if b - a + 1 >= _NARROWEST_GUTTER]


def _has_sides(lines: Sequence[Line], gutter: _Gutter) -> bool:
    fewest = max(_FEWEST_IN_COLUMN, _COLUMN_SHARE * len(lines))
    left = sum(line.right <= gutter[1] for line in lines)
    right = sum(line.left >= gutter[0] for line in lines)
    return left >= fewest and right >= fewest


def _column_of(line: Line, gutters: Sequence[_Gutter]) -> int:
    """The column that a line stands in, from 0; -1 for a line that spans columns."""
    for left, right in gutters:
        if line.left < left and line.right > right:
            return -1
    middle = (line.left + line.right) / 2
    return sum(middle > (left + right) / 2 for left, right in gutters)


def _columns(lines: Sequence[Line], gutters: Sequence[_Gutter]) -> list[list[Line]]:
    columns: list[list[Line]] = [[] for _ in range(len(gutters) + 1)]
    for line in lines:
        if (column := _column_of(line, gutters)) >= 0:
            columns[column].append(line)
    return columns


def _is_prose(lines: Sequence[Line]) -> bool:
    if len(lines) < _FEWEST_IN_COLUMN:
        return False
    width = max(line.right for line in lines) - min(line.left for line in lines)
    full = sum(line.right - line.left > 0.6 * width for line in lines)
    return full >= _FULL_SHARE * len(lines) and median(len(line.text) for line in lines) >= _PROSE_LETTERS


def _in_order(lines: Sequence[Line], gutters: Sequence[_Gutter]) -> list[Line]:
    """Band by band between the lines that span columns, in each band column by column, from the top."""
    spanning = sorted((line for line in lines if _column_of(line, gutters) < 0), key=_middle, reverse=True)
    edges = [_middle(line) for line in spanning]
    columns = [_from_the_top(column) for column in _columns(lines, gutters)]
    ordered: list[Line] = []
    for index, (above, below) in enumerate(pairwise([float("inf"), *edges, float("-inf")])):
        for column in columns:
            ordered += [line for line in column if above >= _middle(line) > below]
        ordered += spanning[index : index + 1]
    return ordered


def _middle(line: Line) -> float:
    return (line.bottom + line.top) / 2


def _from_the_top(lines: Sequence[Line]) -> list[Line]:
    """Lines downwards, and those of one row from the left."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=_middle, reverse=True):
        if rows and _middle(rows[-1][0]) - _middle(line) < _SAME_ROW * line.height:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda piece: piece.left)]
