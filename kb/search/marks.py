"""Which sentences of a passage matched: those that hold most of the question's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from kb.search.question import STEM_LETTERS, content_words, stem

__all__ = ["sentences", "sentences_that_match"]

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n\s*\n|\n(?=\s*[•●▪◦–—*·-]\s)")
WORD = re.compile(r"\w+")
# Sentences with at least this share of the words that the best one has are marked with it.
NEARLY_AS_GOOD = 0.75
MOST_MARKS = 3
# Beyond this code point scripts have no spaces between words.
WITHOUT_SPACES = 0x2E7F


def sentences_that_match(text: str, question: str) -> tuple[tuple[int, int], ...]:
    """Ranges of `text` in the order they stand there; none where no sentence has a word of the question."""
    wanted = _wanted(question)
    counted = [(wanted.count(text[start:end]), start, end) for start, end in sentences(text)]
    best = max((count for count, _, _ in counted), default=0)
    if best == 0:
        return ()
    good = [(count, start, end) for count, start, end in counted if count >= NEARLY_AS_GOOD * best]
    chosen = sorted(good, key=lambda item: (-item[0], item[2] - item[1]))[:MOST_MARKS]
    return tuple(sorted((start, end) for _, start, end in chosen))


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Ranges of the text, a sentence or an item of a list each."""
    start = 0
    for end, following in [*((match.start(), match.end()) for match in SENTENCE_END.finditer(text)), (len(text),) * 2]:
        sentence = text[start:end]
        if sentence.strip():
            lead = len(sentence) - len(sentence.lstrip())
            yield start + lead, start + len(sentence.rstrip())
        start = following


@lru_cache(maxsize=8)  # a search asks for each of its hits
def _wanted(question: str) -> _Wanted:
    return _Wanted(content_words(question))


class _Wanted:
    """The words of a question, in whatever form; of scripts without spaces, which have no words to compare, letters."""

    def __init__(self, question: str) -> None:
        words = set(WORD.findall(question))
        self._letters = frozenset(letter for word in words for letter in word if ord(letter) > WITHOUT_SPACES)
        stems = {stem(word) for word in words if len(word) > 1 and ord(word[0]) <= WITHOUT_SPACES}
        # A word that is shorter than a stem is one of its own: "rate" is not "rated".
        forms = [re.escape(word) + ("" if len(word) >= STEM_LETTERS else r"(?!\w)") for word in sorted(stems)]
        self._stems = re.compile(rf"(?<!\w)(?:{'|'.join(forms)})") if forms else None

    def count(self, sentence: str) -> int:
        """How many of them a sentence has."""
        words = set(self._stems.findall(sentence.casefold())) if self._stems else ()
        return len(words) + len(self._letters.intersection(sentence))
