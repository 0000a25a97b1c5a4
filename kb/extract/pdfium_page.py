"""The lines of one page, each with its place, as pdfium gives them.

The plain functions of pdfium, not pypdfium2's helpers: these cost a twentieth of all the time that a page takes.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import pypdfium2.raw as pdfium_c

from kb.extract.layout import Line

__all__ = ["Frame", "page_lines"]

# A line without the spaces around it. pdfium writes a hyphen at a line end as U+FFFE and leaves the line break out.
_LINE = re.compile("([^\\s\ufffe](?:[^\r\n\ufffe]*[^\\s\ufffe])?)(\ufffe)?")
_FLATTENED = 1  # FLATTEN_SUCCESS
_SAMPLED_LETTERS = 50


def page_lines(document: Any, index: int, *, flatten: bool) -> tuple[list[Line], Frame]:
    """The lines of page `index`, from 0, of a raw document, and the frame that their places are in.

    `flatten` makes what is filled into form fields a part of the page. Raises RuntimeError where pdfium cannot load it.
    """
    page = _loaded(document, index)
    if flatten and pdfium_c.FPDFPage_Flatten(page, pdfium_c.FLAT_NORMALDISPLAY) == _FLATTENED:
        pdfium_c.FPDF_ClosePage(page)
        page = _loaded(document, index)
    textpage = pdfium_c.FPDFText_LoadPage(page)
    try:
        if not textpage:
            raise RuntimeError("its text cannot be loaded")
        size = pdfium_c.FPDF_GetPageWidthF(page), pdfium_c.FPDF_GetPageHeightF(page)
        frame = Frame(pdfium_c.FPDFPage_GetRotation(page) * 90, *size)
        text, same_index = _text_of(textpage)
        lines = list(_lines(textpage, text, frame, same_index))
        if _is_sideways(lines):
            frame = frame.turned_to(_text_rotation(textpage))
            lines = list(_lines(textpage, text, frame, same_index))
        return _of_one_height(lines) if frame.rotation else lines, frame
    finally:
        if textpage:
            pdfium_c.FPDFText_ClosePage(textpage)
        pdfium_c.FPDF_ClosePage(page)


def _loaded(document: Any, index: int) -> Any:
    page = pdfium_c.FPDF_LoadPage(document, index)
    if not page:
        raise RuntimeError("the page cannot be loaded")
    return page


def _text_of(textpage: Any) -> tuple[str, bool]:
    """The text, and whether its indexes are those of the characters.

    They are not where pdfium keeps characters that it does not give out. Asked to start or end with such a one it reads
    past its buffer (pypdfium2#261).
    """
    count = pdfium_c.FPDFText_CountChars(textpage)
    first, last = 0, count - 1
    while first <= last and pdfium_c.FPDFText_GetTextIndexFromCharIndex(textpage, first) < 0:
        first += 1
    while last >= first and pdfium_c.FPDFText_GetTextIndexFromCharIndex(textpage, last) < 0:
        last -= 1
    if last < first:
        return "", True
    buffer = bytearray(4 * (count + 1))  # twice what plain characters need
    units = (ctypes.c_ushort * 1).from_buffer(buffer)
    written = pdfium_c.FPDFText_GetText(textpage, first, last - first + 1, units)
    text = buffer[: 2 * max(written - 1, 0)].decode("utf-16-le", errors="ignore")
    return text, len(text) == count


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
    count = pdfium_c.FPDFText_CountChars(textpage)
    sampled = range(0, count, max(1, count // _SAMPLED_LETTERS))
    angles = Counter(
        round(math.degrees(pdfium_c.FPDFText_GetCharAngle(textpage, index)) / 90) % 4 * 90
        for index in sampled
        if not pdfium_c.FPDFText_IsGenerated(textpage, index)
    )
    return angles.most_common(1)[0][0] if angles else 0


def _lines(textpage: Any, text: str, frame: Frame, same_index: bool) -> Iterator[Line]:
    """The lines of a page in the order of its content stream. Most of the time that is ours is spent here."""
    rectangle, get_box = pdfium_c.FS_RECTF(), pdfium_c.FPDFText_GetLooseCharBox
    new = tuple.__new__  # what Line() calls as well, in twice the time
    target, rotated = ctypes.byref(rectangle), frame.rotation != 0
    for match in _LINE.finditer(text):
        line, hyphen = match.groups()
        first, last = match.start(), match.end(1) - 1
        if not same_index:
            first = pdfium_c.FPDFText_GetCharIndexFromTextIndex(textpage, first)
            last = pdfium_c.FPDFText_GetCharIndexFromTextIndex(textpage, last)
        get_box(textpage, first, target)
        left, bottom, right, top = rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
        get_box(textpage, last, target)
        low, high = rectangle.bottom, rectangle.top
        if low < top and high > bottom:  # the same line: its first character may be a superscript
            bottom, top = low if low < bottom else bottom, high if high > top else top
        start, end = rectangle.left, rectangle.right
        left, right = left if left < start else start, right if right > end else end
        if rotated:
            left, bottom, right, top = frame.box(left, bottom, right, top)
        yield new(Line, (line + "-" if hyphen else line, left, bottom, right, top))
