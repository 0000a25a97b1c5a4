"""What pdfium tells of a document: lines with their places, outline, page labels, metadata.

pdfium is not safe in threads, not even for two documents (pypdfium2#479): everything here runs in a worker process, or
under `PDFIUM_LOCK`.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from threading import RLock
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from kb.extract.dates import parse_date
from kb.extract.images import render
from kb.extract.layout import RawPage
from kb.extract.outline import OutlineEntry
from kb.extract.pdfium_page import page_lines
from kb.types import Metadata, PageStatus

__all__ = ["PDFIUM_LOCK", "PasswordNeededError", "PdfiumReader", "open_pdfium"]

PDFIUM_LOCK = RLock()
logging.getLogger("pypdfium2").addHandler(logging.NullHandler())  # else an outline too deep is told to standard error

_OBJECTS_LOOKED_AT = 500
_SCAN_SHARE = 0.5  # scans fill nearly the whole page; the logo on a cover less than half of it
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
        self._has_form = bool(self._document.get_formtype() != pdfium_c.FORMTYPE_NONE)

    def close(self) -> None:
        """Give the document's memory back: pdfium's is not the garbage collector's."""
        self._document.close()

    def read_page(self, number: int) -> RawPage:
        """Page `number`, counting from 1. Raises RuntimeError where pdfium cannot load it."""
        lines, frame = page_lines(self._document.raw, number - 1, flatten=self._has_form)
        status, undecoded = (PageStatus.TEXT, False) if lines else self._without_text(number)
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

    def _without_text(self, number: int) -> tuple[PageStatus, bool]:
        """Image-only or blank, and whether text is drawn there all the same.

        Anything drawn counts, for a scan may be an inline image, or made of paths; but it must fill the page as a scan
        does. A cover with a logo loses no text.
        """
        kinds: set[int] = set()
        share = 0.0
        with suppress(Exception):
            page = self._document[number - 1]
            drawn = list(islice(page.get_objects(max_depth=3), _OBJECTS_LOOKED_AT))
            kinds = {item.type for item in drawn}
            share = _share_of_page([item.get_bounds() for item in drawn], *page.get_size())
            page.close()
        status = PageStatus.IMAGE_ONLY if share >= _SCAN_SHARE else PageStatus.BLANK
        return status, pdfium_c.FPDF_PAGEOBJ_TEXT in kinds

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


def _share_of_page(boxes: Sequence[tuple[float, float, float, float]], width: float, height: float) -> float:
    """Which share of a page the box around all boxes covers, what hangs over the edge cut off."""
    if not boxes or width <= 0 or height <= 0:
        return 0.0
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    across = min(max(rights), width) - max(min(lefts), 0.0)
    up = min(max(tops), height) - max(min(bottoms), 0.0)
    return float(max(across, 0.0) * max(up, 0.0) / (width * height))
