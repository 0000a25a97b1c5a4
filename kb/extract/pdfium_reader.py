"""What pdfium tells of a document: lines with their places, outline, page labels, metadata.

pdfium is not safe in threads, not even for two documents (pypdfium2#479): everything here runs in a worker process, or
under `PDFIUM_LOCK`.
"""

from __future__ import annotations

import ctypes
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from statistics import median
from threading import RLock
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from kb.extract.dates import parse_date
from kb.extract.images import render
from kb.extract.layout import Line, RawPage
from kb.extract.outline import OutlineEntry
from kb.types import Metadata, PageStatus

__all__ = ["PDFIUM_LOCK", "Frame", "PasswordNeededError", "PdfiumReader", "open_pdfium"]

PDFIUM_LOCK = RLock()
logging.getLogger("pypdfium2").addHandler(logging.NullHandler())  # else an outline too deep is told to standard error

# A line without the spaces around it. pdfium writes a hyphen at a line end as U+FFFE and leaves the line break out.
_LINE = re.compile("([^\\s\ufffe](?:[^\r\n\ufffe]*[^\\s\ufffe])?)(\ufffe)?")
_FLATTENED = 1  # FLATTEN_SUCCESS
_OBJECTS_LOOKED_AT = 500
_SAMPLED_LETTERS = 50
_OUTLINE_DEPTH = 64
_OUTLINE_ENTRIES = 50_000  # an outline may refer to itself


class PasswordNeededError(Exception):
    """The file is encrypted, and neither the empty password nor any given one opens it."""


class PdfiumReader:
    """One open document, until it is closed."""

    def __init__(self, data: bytes, passwords: Sequence[str] = ()) -> None:
        """Open `data`. Raises PasswordNeededError, or RuntimeError where pdfium finds no document."""
        self._document = open_pdfium(data, passwords)
        self.page_count = len(self._document)
        self._has_form = self._document.get_formtype() != pdfium_c.FORMTYPE_NONE

    def close(self) -> None:
        """Give the document's memory back: pdfium's is not the garbage collector's."""
        self._document.close()

    def read_page(self, number: int) -> RawPage:
        """Page `number`, counting from 1. Raises RuntimeError where pdfium cannot load it."""
        page = self._document[number - 1]
        try:
            if self._has_form and pdfium_c.FPDFPage_Flatten(page, pdfium_c.FLAT_NORMALDISPLAY) == _FLATTENED:
                page.close()  # what is filled in is part of the page's text now, in its place
                page = self._document[number - 1]
            frame = Frame(page.get_rotation(), *page.get_size())
            textpage = page.get_textpage()
            try:
                lines = list(_lines(textpage, frame))
                if _is_sideways(lines):
                    frame = frame.turned_to(_text_rotation(textpage))
                    lines = list(_lines(textpage, frame))
                if frame.rotation:
                    lines = _of_one_height(lines)
            finally:
                textpage.close()
            status, undecoded = (PageStatus.TEXT, False) if lines else _without_text(page)
        finally:
            page.close()
        return RawPage(number, self.label(number), lines, frame.width, frame.height, status, undecoded=undecoded)

    def render(self, number: int, scale: float) -> tuple[bytes, int, int]:
        """Page `number` in grey, `scale` x 72 dots per inch: its pixels, width and height."""
        page = self._document[number - 1]
        try:
            return render(page, scale=scale, grayscale=True)
        finally:
            page.close()

    def label(self, number: int) -> str:
        """What is printed as the number of page `number`; its position where the document defines none."""
        with suppress(Exception):
            return str(self._document.get_page_label(number - 1)).strip() or str(number)
        return str(number)

    @property
    def has_form(self) -> bool:
        """Whether the document has form fields."""
        return bool(self._has_form)

    def outline(self) -> list[OutlineEntry]:
        """The bookmarks in order; one without a page takes the page of the one before it."""
        entries: list[OutlineEntry] = []
        with suppress(Exception):
            for bookmark in self._document.get_toc(max_depth=_OUTLINE_DEPTH):
                entries.append(_outline_entry(bookmark, entries[-1].page if entries else 1))
                if len(entries) >= _OUTLINE_ENTRIES:
                    break
        return entries

    def metadata(self) -> Metadata:
        """Title, author and the rest, empty where the file says nothing or something unreadable."""
        values = {key: self._metadata_value(key) for key in ("Title", "Author", "Subject", "CreationDate", "ModDate")}
        return Metadata(
            title=values["Title"],
            author=values["Author"],
            subject=values["Subject"],
            language=self._language(),
            created=parse_date(values["CreationDate"]),
            modified=parse_date(values["ModDate"]),
        )

    def _metadata_value(self, key: str) -> str:
        with suppress(Exception):
            return str(self._document.get_metadata_value(key))
        return ""

    def _language(self) -> str:
        with suppress(Exception):
            size = pdfium_c.FPDFCatalog_GetLanguage(self._document, None, 0)
            buffer = (ctypes.c_ushort * max(size // 2, 1))()
            pdfium_c.FPDFCatalog_GetLanguage(self._document, buffer, size)
            return bytes(buffer).decode("utf-16-le").rstrip("\0")
        return ""


def open_pdfium(data: bytes, passwords: Sequence[str]) -> Any:
    """The open document. Raises as PdfiumReader does."""
    for password in (None, *passwords):
        try:
            return pdfium.PdfDocument(data, password=password)
        except pdfium.PdfiumError as error:
            # The code may be left over from the file before (pdfium sets none for a PDF without pages).
            if error.err_code != pdfium_c.FPDF_ERR_PASSWORD or b"/Encrypt" not in data:
                raise
    raise PasswordNeededError


def _outline_entry(bookmark: Any, page_before: int) -> OutlineEntry:
    destination = bookmark.get_dest()
    index = destination.get_index() if destination else None
    view = destination.get_view() if destination else (0, [])
    top = float(view[1][1]) if view[0] == pdfium_c.PDFDEST_VIEW_XYZ and len(view[1]) > 1 else None
    page = page_before if index is None or index < 0 else index + 1
    return OutlineEntry(level=bookmark.level, title=bookmark.get_title() or "", page=page, top=top)


def _without_text(page: Any) -> tuple[PageStatus, bool]:
    """Image-only or blank, and whether text is drawn there all the same.

    Anything drawn counts as an image: a scan may be an inline image, or made of paths.
    """
    kinds: set[int] = set()
    with suppress(Exception):
        kinds = {drawn.type for drawn in islice(page.get_objects(max_depth=3), _OBJECTS_LOOKED_AT)}
    return PageStatus.IMAGE_ONLY if kinds else PageStatus.BLANK, pdfium_c.FPDF_PAGEOBJ_TEXT in kinds


class Frame:
    """Turns boxes of a page, which pdfium gives unrotated, into boxes as displayed."""

    def __init__(self, rotation: int, width: float, height: float) -> None:
        self.rotation, self.width, self.height = rotation, width, height

    def turned_to(self, rotation: int) -> Frame:
        """The frame in which the page is turned by `rotation`, whatever it is displayed with."""
        swapped = (rotation - self.rotation) % 180 != 0
        width, height = (self.height, self.width) if swapped else (self.width, self.height)
        return Frame(rotation, width, height)

    def box(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        if self.rotation == 90:
            return bottom, self.height - right, top, self.height - left
        if self.rotation == 180:
            return self.width - right, self.height - top, self.width - left, self.height - bottom
        if self.rotation == 270:
            return self.width - top, left, self.width - bottom, right
        return left, bottom, right, top


def _is_sideways(lines: list[Line]) -> bool:
    """Whether the lines run up or down the page: a wide table, turned to fit."""
    longer = [line for line in lines if len(line.text) > 3]
    return 2 * sum(line.height > line.right - line.left for line in longer) > len(longer)


def _of_one_height(lines: list[Line]) -> list[Line]:
    """The lines as high as most of their distances allow: pdfium's loose boxes of turned letters are too flat."""
    bottoms = sorted({round(line.bottom, 1) for line in lines}, reverse=True)
    steps = [above - below for above, below in pairwise(bottoms) if above - below > 1]
    height = 0.8 * median(steps) if steps else 10.0
    return [line._replace(top=line.bottom + height) for line in lines]


def _text_rotation(textpage: Any) -> int:
    """By how many degrees, clockwise, the page must be turned for most of its text to run from left to right."""
    count = textpage.count_chars()
    sampled = range(0, count, max(1, count // _SAMPLED_LETTERS))
    angles = Counter(
        round(math.degrees(pdfium_c.FPDFText_GetCharAngle(textpage, index)) / 90) % 4 * 90
        for index in sampled
        if not pdfium_c.FPDFText_IsGenerated(textpage, index)
    )
    return angles.most_common(1)[0][0] if angles else 0


def _lines(textpage: Any, frame: Frame) -> Iterator[Line]:
    """The lines of a page in the order of its content stream. Most of the time that is ours is spent here."""
    count = textpage.count_chars()
    text = textpage.get_text_range() if count else ""
    same_index = count == len(text)  # else pdfium has characters that it does not give out (NUL, or halves of a pair)
    rectangle, get_box = pdfium_c.FS_RECTF(), pdfium_c.FPDFText_GetLooseCharBox
    handle, target, rotated = textpage.raw, ctypes.byref(rectangle), frame.rotation != 0
    for match in _LINE.finditer(text):
        line, hyphen = match.groups()
        first, last = match.start(), match.end(1) - 1
        if not same_index:
            first = pdfium_c.FPDFText_GetCharIndexFromTextIndex(handle, first)
            last = pdfium_c.FPDFText_GetCharIndexFromTextIndex(handle, last)
        get_box(handle, first, target)
        left, bottom, right, top = rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
        get_box(handle, last, target)
        low, high = rectangle.bottom, rectangle.top
        if low < top and high > bottom:  # the same line: its first character may be a superscript
            bottom, top = low if low < bottom else bottom, high if high > top else top
        start, end = rectangle.left, rectangle.right
        left, right = left if left < start else start, right if right > end else end
        if rotated:
            left, bottom, right, top = frame.box(left, bottom, right, top)
        yield Line(line + "-" if hyphen else line, left, bottom, right, top)
