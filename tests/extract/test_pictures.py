"""Pictures of pages, and the place of a passage on one."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kb.config import ExtractionSettings
from kb.extract import extract_document, find_on_page, page_picture

MakePdf = Callable[..., Path]


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_picture_has_the_size_of_the_page_times_scale(samples: Path) -> None:
    path = samples / "debmake-doc.en.pdf"  # A4: 595 x 842 points
    assert size_of(page_picture(path, 20, scale=1.0)) == (596, 842)
    assert size_of(page_picture(path, 20)) == (1191, 1684)


def test_a_page_that_is_not_there_is_an_index_error(samples: Path) -> None:
    with pytest.raises(IndexError, match="page 200 of 143"):
        page_picture(samples / "debmake-doc.en.pdf", 200)


def test_a_passage_is_found_line_by_line_where_it_stands(make_pdf: MakePdf) -> None:
    path = make_pdf([["First line", "the wanted passage", "goes on here", "last line"]])
    boxes = find_on_page(path, 1, "the wanted passage\ngoes on here")
    assert len(boxes) == 2
    upper, lower = boxes
    assert upper.left == pytest.approx(72 / 595.3, abs=0.01)
    assert upper.top == pytest.approx(1 - (780 - 14 + 8) / 841.9, abs=0.01)
    assert upper.bottom < lower.top < lower.bottom < 0.2
    assert upper.right > upper.left


def test_extracted_text_is_found_though_it_was_cleaned_and_joined(samples: Path) -> None:
    path = samples / "debmake-doc.en.pdf"
    page = extract_document(path, ExtractionSettings()).pages[19]
    start = page.text.index("The debsign command")
    boxes = find_on_page(path, 20, page.text[start : start + 400])
    assert len(boxes) >= 4
    assert all(0 <= box.left < box.right <= 1 and 0 <= box.top < box.bottom <= 1 for box in boxes)


def test_what_is_not_on_the_page_has_no_boxes(make_pdf: MakePdf) -> None:
    assert find_on_page(make_pdf([["Something"]]), 1, "entirely different") == []
    assert find_on_page(make_pdf([["Something"]]), 1, " … ") == []


def test_threads_may_ask_at_the_same_time(samples: Path) -> None:
    paths = [samples / "debmake-doc.en.pdf", samples / "reportlab-userguide.pdf"] * 4
    pictures: dict[int, bytes] = {}

    def draw(index: int) -> None:
        pictures[index] = page_picture(paths[index], 20, scale=0.5)

    threads = [threading.Thread(target=draw, args=(index,)) for index in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pictures.values())) == 2
