"""Sections: where they start on a page, from the outline or from the size of the letters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kb.extract.headings import infer_outline
from kb.extract.layout import Line, RawPage
from kb.extract.outline import OutlineEntry, PlacedEntry, outline_paths, place_sections
from kb.types import Section


def test_paths_come_from_the_levels() -> None:
    outline = [OutlineEntry(0, "A", 1), OutlineEntry(1, "B", 2), OutlineEntry(1, "C", 2), OutlineEntry(0, "D", 3)]
    assert [entry.path for entry in outline_paths(outline)] == [("A",), ("A", "B"), ("A", "C"), ("D",)]


def test_entries_without_a_title_are_left_out_and_titles_are_cleaned() -> None:
    outline = [OutlineEntry(0, " \x00", 1), OutlineEntry(1, "Eﬃcient\n work", 2)]
    assert [entry.path for entry in outline_paths(outline)] == [("Efficient work",)]


def place(text: str, continued: tuple[str, ...], *titles: str) -> tuple[Section, ...]:
    entries = [PlacedEntry((title,), 1, None) for title in titles]
    return place_sections(text, continued, entries)[0]


def test_a_section_starts_at_the_line_of_its_heading() -> None:
    text = "end of before\n\n3.6 sbuild\n\nThe sbuild package"
    assert place(text, ("before",), "sbuild") == (Section(0, ("before",)), Section(15, ("sbuild",)))


def test_a_heading_is_not_sought_in_the_middle_of_a_line() -> None:
    text = "we speak of results at length here\n\nResults\n\nthey are good"
    assert place(text, (), "Results") == (Section(36, ("Results",)),)


def test_a_heading_over_two_lines_is_found() -> None:
    text = "text before\n\n4 A title that is\nrather long\n\ntext"
    assert place(text, (), "A title that is rather long")[0].offset == 13


def test_a_number_on_a_line_of_its_own_belongs_to_the_heading_below() -> None:
    assert place("Chapter 2\n\nPrerequisites\n\nHere", ("Overview",), "Prerequisites") == (
        Section(0, ("Prerequisites",)),
    )


def test_the_same_title_twice_starts_twice() -> None:
    text = "Synopsis\n\none\n\nSynopsis\n\ntwo"
    entries = [PlacedEntry(("a", "Synopsis"), 1, None), PlacedEntry(("b", "Synopsis"), 1, None)]
    assert [section.offset for section in place_sections(text, (), entries)[0]] == [0, 15]


def test_a_heading_that_is_not_in_the_text_starts_at_the_top() -> None:
    assert place("some text", ("before",), "Figure of a heading") == (Section(0, ("Figure of a heading",)),)


def test_a_page_without_headings_continues_the_section() -> None:
    assert place_sections("text", ("A", "B"), []) == ((Section(0, ("A", "B")),), ("A", "B"))


@given(st.text(alphabet="ab \n", max_size=40), st.lists(st.text(alphabet="ab ", min_size=1, max_size=5), max_size=5))
def test_offsets_ascend_within_the_text(text: str, titles: list[str]) -> None:
    offsets = [section.offset for section in place(text, ("x",), *titles)]
    assert offsets == sorted(set(offsets))
    assert all(0 <= offset <= len(text) for offset in offsets)


def page(number: int, *lines: tuple[str, float]) -> RawPage:
    placed = [Line(text, 72.0, 700.0 - 30 * i, 400.0, 700.0 - 30 * i + size) for i, (text, size) in enumerate(lines)]
    return RawPage(number, str(number), placed, 595.0, 842.0)


BODY = ("a line of the body, of which there are many more than there are headings " * 2, 10.0)


def test_headings_are_the_larger_lines_by_rank() -> None:
    pages = [page(1, ("Title", 20.0), BODY, ("Part one", 14.0), BODY), page(2, BODY, ("Part two", 14.0), BODY, BODY)]
    assert [entry[:3] for entry in infer_outline(pages)] == [(0, "Title", 1), (1, "Part one", 1), (1, "Part two", 2)]


def test_a_heading_over_two_lines_is_one() -> None:
    rows = [("A long", 20.0), ("title", 20.0), BODY, ("One", 14.0), BODY, ("Two", 14.0), BODY, BODY]
    assert infer_outline([page(1, *rows)])[0].title == "A long title"


def test_sizes_that_vary_all_over_say_nothing() -> None:
    rows = [("Words of some size on a slide", 10.0 + index) for index in range(12)]
    assert infer_outline([page(1, *rows)]) == []
