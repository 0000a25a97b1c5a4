"""Pictures of pages, and where a passage stands on one: for showing a hit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium_c

from kb.extract.clean import clean
from kb.extract.images import png, render
from kb.extract.pdfium_page import Frame
from kb.extract.pdfium_reader import PDFIUM_LOCK, open_pdfium

__all__ = ["Rectangle", "find_on_page", "page_picture"]

_SHORTEST_LINE = 4  # letters: a shorter line of a passage is found in too many places to mark them


class Rectangle(NamedTuple):
    """A box on a page in shares of its width and height, from the upper left corner: fit for a picture of any scale."""

    left: float
    top: float
    right: float
    bottom: float


def page_picture(path: Path, number: int, *, scale: float = 2.0, password: str | None = None) -> bytes:
    """Page `number`, from 1, as a PNG of `scale` x 72 dots per inch. Raises IndexError, OSError or RuntimeError."""
    with PDFIUM_LOCK:
        document = open_pdfium(path.read_bytes(), [password] if password else [])
        try:
            return png(*render(_page(document, number), scale=scale))
        finally:
            document.close()


def find_on_page(path: Path, number: int, passage: str, *, password: str | None = None) -> list[Rectangle]:
    """Boxes of `passage` on page `number`, one or more for each line of it; empty where it is not there.

    The passage is cleaned text in reading order, the page is not: letters are compared without spaces and hyphens,
    as a whole first, then line by line. Raises as `page_picture` does.
    """
    with PDFIUM_LOCK:
        document = open_pdfium(path.read_bytes(), [password] if password else [])
        try:
            page = _page(document, number)
            textpage = page.get_textpage()
            letters, indexes = _letters_of(textpage)
            frame = Frame(page.get_rotation(), *page.get_size())
            found = [_boxes(textpage, span, frame) for span in _spans(letters, indexes, passage)]
            return [box for boxes in found for box in boxes]
        finally:
            document.close()


def _page(document: Any, number: int) -> Any:
    if not 1 <= number <= len(document):
        raise IndexError(f"page {number} of {len(document)}")
    return document[number - 1]


def _squeezed(text: str) -> str:
    return "".join(letter for letter in clean(text).casefold() if letter.isalnum())


def _letters_of(textpage: Any) -> tuple[str, list[int]]:
    """The page's letters, squeezed, and for each the index of the character that it is a part of."""
    letters: list[str] = []
    indexes: list[int] = []
    for index in range(textpage.count_chars()):
        for letter in _squeezed(chr(pdfium_c.FPDFText_GetUnicode(textpage, index))):
            letters.append(letter)
            indexes.append(index)
    return "".join(letters), indexes


def _spans(letters: str, indexes: list[int], passage: str) -> Iterator[tuple[int, int]]:
    """First character and number of characters of each stretch of the page that is part of the passage."""
    for parts in ([passage], passage.split("\n")):
        position, spans = 0, []
        for part in map(_squeezed, parts):
            if len(part) < _SHORTEST_LINE and len(parts) > 1:
                continue
            start = letters.find(part, position)
            start = letters.find(part) if start < 0 else start
            if part and start >= 0:
                position = start + len(part)
                spans.append((indexes[start], indexes[position - 1] - indexes[start] + 1))
        if spans:
            yield from spans
            return


def _boxes(textpage: Any, span: tuple[int, int], frame: Frame) -> list[Rectangle]:
    count = textpage.count_rects(*span)
    boxes = [frame.box(*textpage.get_rect(index)) for index in range(count)]
    width, height = frame.width, frame.height
    return [
        Rectangle(left / width, 1 - top / height, right / width, 1 - bottom / height)
        for left, bottom, right, top in boxes
    ]
