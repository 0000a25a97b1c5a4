"""Reading order: columns of prose downwards one by one, everything else as the file has it."""

from __future__ import annotations

import random

from kb.extract.columns import order_columns
from kb.extract.layout import Line, RawPage


def column(name: str, left: float, top: float, count: int, width: float = 200.0) -> list[Line]:
    lines = [(f"{name} line {index} of a column of prose", top - 12.0 * index) for index in range(count)]
    return [Line(text, left, bottom, left + width, bottom + 10.0) for text, bottom in lines]


def texts_in_order(lines: list[Line]) -> list[str]:
    page = RawPage(1, "1", lines, 595.0, 842.0)
    order_columns(page)
    return [line.text for line in page.lines]


def test_two_columns_are_read_one_after_the_other_whatever_the_files_order() -> None:
    left, right = column("left", 60, 700, 20), column("right", 310, 700, 20)
    mixed = left + right
    random.Random(5).shuffle(mixed)
    assert texts_in_order(mixed) == [line.text for line in left + right]


def test_footnotes_that_the_file_has_first_come_after_the_body_of_their_column() -> None:
    body, notes, right = column("body", 60, 700, 12), column("note", 60, 400, 5), column("right", 310, 700, 20)
    assert texts_in_order(notes + body + right) == [line.text for line in body + notes + right]


def test_a_heading_over_both_columns_divides_the_page_into_bands() -> None:
    heading = Line("A heading that spans the whole page", 60, 500, 510, 515)
    above = [column("left", 60, 700, 10), column("right", 310, 700, 10)]
    below = [column("third", 60, 480, 10), column("fourth", 310, 480, 10)]
    lines = [heading, *above[0], *below[0], *above[1], *below[1]]
    wanted = [*above[0], *above[1], heading, *below[0], *below[1]]
    assert texts_in_order(lines) == [line.text for line in wanted]


def test_the_cells_of_a_table_are_not_taken_for_columns() -> None:
    cells = [
        Line(text, left, 700 - 14.0 * row, left + 40, 710 - 14.0 * row)
        for row in range(12)
        for left, text in ((60.0, f"item {row}"), (250.0, "1,234"), (400.0, "56.7"))
    ]
    assert texts_in_order(cells) == [line.text for line in cells]


def test_one_column_stays_in_the_files_order() -> None:
    lines = column("only", 60, 700, 30, width=450)
    assert texts_in_order(lines) == [line.text for line in lines]


def test_no_line_is_lost() -> None:
    lines = column("left", 60, 700, 20) + column("right", 310, 690, 15) + column("wide", 60, 300, 2, width=450)
    assert sorted(texts_in_order(lines)) == sorted(line.text for line in lines)
