"""Words that a line end cut in two."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["join_hyphens", "vocabulary"]

_WORD = re.compile(r"[^\W\d_]+(?:[-‐][^\W\d_]+)*")
_CUT = re.compile(r"([^\W\d_]+(?:[-‐][^\W\d_]+)*)[-‐]\n([^\W\d_]+)")


def vocabulary(texts: Iterable[str]) -> frozenset[str]:
    """Every word that stands unbroken somewhere, compounds with their hyphens, in lower case."""
    words: set[str] = set()
    for text in texts:
        words.update(_WORD.findall(_CUT.sub(" ", text).lower()))
    return frozenset(words)


def join_hyphens(text: str, words: frozenset[str]) -> str:
    """`text` with a cut word made whole where the document has it whole elsewhere, as one word or as a compound.

    Where it has neither, the cut stays as it is printed: "FAA-\\napproved" must not become "FAAapproved".
    """

    def whole(cut: re.Match[str]) -> str:
        start, end = cut.groups()
        for joined in (start + end, f"{start}-{end}"):
            if joined.lower() in words:
                return joined
        return cut[0]

    return _CUT.sub(whole, text) if "-\n" in text or "‐\n" in text else text
