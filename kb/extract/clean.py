"""Characters as search, JSON, Arrow and a reader need them."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clean", "is_clean"]

# What goes: controls, zero-width and bidirectional marks, noncharacters, lone surrogates. ZWNJ and ZWJ (U+200C, U+200D)
# stay: Persian and Indic words are spelled with them.
_JUNK = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufdd0-\ufdef"
    "\ufeff\ufffe\uffff\ud800-\udfff]"
)
_SPACES = re.compile("[\t\x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000 ]+")
_BULLETS = re.compile("[\uf0b7\uf0a7\uf0d8\uf076]")  # Symbol and Wingdings, as word processors write a list
_PAIRS = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# Compatibility characters that only say how a letter was drawn. Superscripts, fractions and the ellipsis are not among
# them: NFKC would turn 10⁻³ into 10-3.
_DRAWN = re.compile(
    "[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufb4f\ufb50-\ufdcf\ufdf0-\ufdfb\ufe70-\ufefc\uff01-\uffee\u2e80-\u2fdf\uf900-\ufaff]+"
)
# Whether any of it is there, or anything that Unicode writes in two ways. Most lines of most documents have none.
_ODD = re.compile(
    "[^ -~\u00a1-\u00ac\u00ae-\u02ff\u0388-\u03ce\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e"
    "\u20a0-\u20bf\u2190-\u2328\u232b-\u2adb\u3001-\u3029\u3040-\u3096\u309b-\u30ff\u4e00-\u9fff\uac00-\ud7a3]|  "
)


def is_clean(text: str) -> bool:
    """Whether `clean` has nothing to change in `text` but spaces at its ends."""
    return _ODD.search(text) is None


def clean(text: str) -> str:
    """`text`, one line, with junk dropped, spaces made single and letters made whole."""
    if is_clean(text):
        return text.strip()
    if _PAIRS.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    text = _DRAWN.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)
    text = _JUNK.sub("", _BULLETS.sub("•", text))
    text = _SPACES.sub(" ", text).strip()
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
