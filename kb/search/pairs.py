"""Words that stand side by side in a question, and nearly so in a passage: "operating margin" is more than two words.

What is left of sequential dependence (Metzler and Croft, SIGIR 2005) where only the candidates are looked at, so that
no index of pairs is needed (tests/benchmarks/bench_retrieval.py says what it is worth).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from kb.search.question import stem

__all__ = ["worth_of_pairs"]

WORD = re.compile(r"\w+")
# Between the two words of a pair there may be so many others: "margin of the operating segment".
WORDS_BETWEEN = 2
# They join what belongs together, and are no part of it.
JOINING_WORDS = frozenset("a an and as at by for from in of on or the to with".split())  # noqa: SIM905


def worth_of_pairs(question: str, texts: Sequence[str]) -> list[float]:
    """For each text the worth of the question's pairs that it has; a pair counts by how rare it is among them."""
    pairs = _pairs(question)
    folded = [text.casefold() for text in texts]
    held = [[pair for pair in pairs if pair.is_in(text)] for text in folded]
    frequencies = Counter(pair for found in held for pair in found)
    worth = {pair: math.log1p((len(texts) - count + 0.5) / (count + 0.5)) for pair, count in frequencies.items()}
    return [sum(worth[pair] for pair in found) for found in held]


class _Pair:
    """Two words, in whatever form, the second soon after the first."""

    def __init__(self, first: str, second: str) -> None:
        self._first, self._second = first, second
        between = rf"(?:\w+\W+){{0,{WORDS_BETWEEN}}}"
        self._following = re.compile(rf"\w*\W+{between}{re.escape(second)}")

    def is_in(self, text: str) -> bool:
        """Whether a text, its case folded, has the pair; looking for the words as they are is what makes it quick."""
        if self._second not in text:
            return False
        start = text.find(self._first)
        while start >= 0:
            end = start + len(self._first)
            begins_a_word = start == 0 or WORD.match(text, start - 1) is None
            if begins_a_word and self._following.match(text, end):
                return True
            start = text.find(self._first, end)
        return False


def _pairs(question: str) -> list[_Pair]:
    words = [word for word in WORD.findall(question.casefold()) if word not in JOINING_WORDS]
    following = dict.fromkeys((stem(first), stem(second)) for first, second in pairwise(words))
    return [_Pair(first, second) for first, second in following]
