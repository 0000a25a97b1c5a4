"""Words that a line end cut in two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["join_hyphens"]

_WORD = re.compile(r"[^\W\d_]+(?:[-‐][^\W\d_]+)*")
_LINE_END = re.compile(r"[-‐]\n")
_BEFORE_REVERSED = re.compile(r"[^\W\d_]+(?:[-‐][^\W\d_]+)*")  # matched backwards: a search for an end is slow
_AFTER = re.compile(r"[^\W\d_]+")
_PUNCTUATION = ".,;:!?()[]{}<>'\"“”‘’«»…*"
_LONGEST = 60  # letters of a word's first part


class _Cut(NamedTuple):
    """A hyphen at a line end, at `start` of the text, and the two parts of the word."""

    start: int
    before: str
    after: str


def join_hyphens(texts: Sequence[str]) -> list[str]:
    """The texts with a cut word made whole where the document has it whole elsewhere, as one word or as a compound.

    Where it has neither, the cut stays as it is printed: "FAA-\\napproved" must not become "FAAapproved".
    """
    cuts = [list(_cuts(text)) for text in texts]
    if not any(cuts):
        return list(texts)
    words = _words(texts)
    return [_joined(text, found, words) if found else text for text, found in zip(texts, cuts, strict=True)]


def _cuts(text: str) -> Iterator[_Cut]:
    if "-\n" not in text and "‐\n" not in text:
        return
    for hyphen in _LINE_END.finditer(text):
        start, end = hyphen.span()
        before = _BEFORE_REVERSED.match(text[max(0, start - _LONGEST) : start][::-1])
        after = _AFTER.match(text, end)
        if before and after:
            yield _Cut(start, before[0][::-1], after[0])


def _words(texts: Sequence[str]) -> set[str]:
    """Every word of the texts that no line end cuts, in lower case, and compounds with their hyphens."""
    tokens: set[str] = set()
    for text in texts:
        tokens.update(text.replace("-\n", "-\0").replace("‐\n", "‐\0").lower().split())
    words = {token.strip(_PUNCTUATION) for token in tokens}
    mixed = " ".join([word for word in words if not word.isalpha() and "\0" not in word])
    return words.union(_WORD.findall(mixed))


def _joined(text: str, cuts: Sequence[_Cut], words: set[str]) -> str:
    pieces, position = [], 0
    for cut in cuts:
        if (cut.before + cut.after).lower() in words:
            pieces.append(text[position : cut.start])
        elif f"{cut.before}-{cut.after}".lower() in words:
            pieces.append(text[position : cut.start] + "-")
        else:
            continue
        position = cut.start + 2
    return "".join(pieces) + text[position:]
