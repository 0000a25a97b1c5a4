"""Which sentences of a passage matched: those that hold most of the question's words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kb.search.question import content_words, stem

__all__ = ["sentences", "sentences_that_match"]

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n\s*\n|\n(?=\s*[•●▪◦–—*·-]\s)")
WORD = re.compile(r"\w+")
# Sentences with at least this share of the words that the best one has are marked with it.
NEARLY_AS_GOOD = 0.75
MOST_MARKS = 3


def sentences_that_match(text: str, question: str) -> tuple[tuple[int, int], ...]:
    """Ranges of `text` in the order they stand there; none where no sentence has a word of the question."""
    wanted = _stems(content_words(question))
    counted = [(len(wanted & _stems(text[start:end])), start, end) for start, end in sentences(text)]
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


def _stems(text: str) -> set[str]:
    words = set(WORD.findall(text))
    # Scripts without spaces have no words to compare: their letters are.
    letters = {letter for word in words if not word.isascii() for letter in word if ord(letter) > 0x2E7F}
    return {stem(word) for word in words if len(word) > 1 and ord(word[0]) <= 0x2E7F} | letters
