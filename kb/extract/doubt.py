"""Whether a page's text can be right."""

from __future__ import annotations

import re

from kb.extract.layout import RawPage
from kb.types import PageStatus

__all__ = ["doubt"]

# "More than 3 % of the letters stand in words of 25 letters or more" found 572 of 596 pages with glued words among
# 5,173, and one of the others. Scripts without spaces between words are left out.
_LONG_WORD = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f]{25,}")
_LONG_AVERAGE = 7  # letters a word; below it no page has glued words, and looking for them takes a while
# Latin, Greek and Cyrillic letters side by side: pdfium reads some character maps wrongly, "quyпn" for "quyền".
_MIXED_WORD = re.compile(
    "[a-z\u00e0-\u024f](?=[\u0370-\u052f])|[\u03b1-\u03c9](?=[\u0400-\u052f\u00e0-\u024f])"
    "|[\u0400-\u052f](?=[a-z\u0370-\u03ff])"
)
_MIXED_SHARE = 0.01
_SAMPLE = (100, 500)  # letters of so many: a character map is wrong all over
_GLUED_SHARE = 0.03
_UNKNOWN_SHARE = 0.05
_FEW_LETTERS = 100  # below this a single long word would decide


def doubt(page: RawPage) -> str:
    """Why the page should be read by another engine as well; empty where its text looks right."""
    if page.status is PageStatus.FAILED:
        return page.note or "the page cannot be loaded"
    if page.undecoded:
        return "its text cannot be decoded"
    text = "\n".join([line.text for line in page.lines])
    words = text.count(" ") + len(page.lines)
    letters = len(text) - words
    if letters < _FEW_LETTERS:
        return ""
    if text.count("\ufffd") > _UNKNOWN_SHARE * letters:
        return "many characters are unknown"
    if letters > _LONG_AVERAGE * words and sum(map(len, _LONG_WORD.findall(text))) > _GLUED_SHARE * letters:
        return "words are glued together"
    if not text.isascii():
        sample = "\n".join([text[start : start + _SAMPLE[0]] for start in range(0, len(text), _SAMPLE[1])])
        if len(_MIXED_WORD.findall(sample)) > _MIXED_SHARE * len(sample):
            return "letters of different alphabets are mixed"
    return ""
