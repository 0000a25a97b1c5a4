"""Running heads and page numbers go; a line that is not repeated in its place never does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kb.extract.furniture import remove_furniture
from kb.extract.layout import Line, RawPage


def page(number: int, head: str, body: list[str], foot: str, label: str = "") -> RawPage:
    rows = [(head, 800.0), *[(text, 760.0 - 14 * index) for index, text in enumerate(body)], (foot, 30.0)]
    lines = [Line(text, 72.0, bottom, 300.0, bottom + 10.0) for text, bottom in rows if text]
    return RawPage(number, label or str(number), lines, 595.0, 842.0)


def texts_after(pages: list[RawPage]) -> list[list[str]]:
    remove_furniture(pages)
    return [[line.text for line in page.lines] for page in pages]


def body(number: int) -> list[str]:
    return [f"{word} of page {'x' * number}" for word in ("First line", "Second line", "Third line")]


def test_a_head_and_a_page_number_on_every_page_go() -> None:
    pages = [page(n, "Annual Report 2022", body(n), f"Page {n} of 8") for n in range(1, 9)]
    assert texts_after(pages) == [body(n) for n in range(1, 9)]


def test_page_numbers_that_start_elsewhere_go() -> None:
    pages = [page(n, "", body(n), str(n + 311)) for n in range(1, 9)]
    assert texts_after(pages) == [body(n) for n in range(1, 9)]


def test_roman_page_numbers_go_by_their_labels() -> None:
    labels = ["i", "ii", "iii", "iv", "v", "vi"]
    pages = [page(n, "", body(n), label, label) for n, label in enumerate(labels, 1)]
    assert texts_after(pages) == [body(n) for n in range(1, 7)]


def test_heads_that_alternate_from_left_to_right_go() -> None:
    pages = [page(n, f"{n} The Book" if n % 2 else f"The Chapter {n}", body(n), "") for n in range(1, 11)]
    assert texts_after(pages) == [body(n) for n in range(1, 11)]


def test_first_lines_that_are_not_repeated_stay() -> None:
    pages = [page(n, f"Title {'y' * n}", body(n), f"total {n * n + 17 * n % 5} and {n * 37 % 11}") for n in range(1, 9)]
    before = [[line.text for line in p.lines] for p in pages]
    assert texts_after(pages) == before


def test_a_line_on_less_than_half_of_the_pages_stays() -> None:
    pages = [page(n, "Draft" if n in (2, 5, 7) else "", body(n), "") for n in range(1, 11)]
    assert sum("Draft" in lines for lines in texts_after(pages)) == 3


def test_a_line_repeated_in_the_middle_of_the_pages_stays() -> None:
    pages = [page(n, "", [*body(n), *body(n + 50), "Note", *body(n + 100), *body(n + 150)], "") for n in range(1, 9)]
    assert all("Note" in lines for lines in texts_after(pages))


def test_a_short_document_is_left_alone() -> None:
    pages = [page(n, "Form 10-K", body(n), str(n)) for n in (1, 2, 3)]
    assert all("Form 10-K" in lines for lines in texts_after(pages))


def test_a_page_never_loses_everything() -> None:
    pages = [page(n, "Slide", ["Same", "Same too"], "") for n in range(1, 9)]
    assert all(texts_after(pages))


@given(st.lists(st.lists(st.sampled_from(["alpha", "beta", "total 12", "7"]), min_size=3, max_size=12), max_size=8))
def test_what_is_dropped_is_on_other_pages_at_the_same_height(documents: list[list[str]]) -> None:
    pages = [page(n, "", lines, "") for n, lines in enumerate(documents, 1)]
    before = [list(p.lines) for p in pages]
    remove_furniture(pages)
    for index, (lines, after) in enumerate(zip(before, pages, strict=True)):
        for line in lines:
            if line not in after.lines:
                others = [o for i, other in enumerate(before) if i != index for o in other]
                assert any(abs(o.bottom - line.bottom) < 30 and o.text[:5] == line.text[:5] for o in others) or (
                    line.text.isdigit()
                )
