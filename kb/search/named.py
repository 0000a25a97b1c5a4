"""Documents that a question names: "3M's capital expenditure in 2018" means the file 3M_2018_10K.pdf.

In annual reports of many companies and years each page looks like the same page of the others, and hardly one says
whose it is (tests/benchmarks/bench_retrieval.py says what the names are worth).
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from kb.search.pairs import JOINING_WORDS
from kb.search.question import QUESTION_WORDS
from kb.store import WORD_OF_NAME, WordsOfNames, words_of_name
from kb.types import ContentKey

__all__ = ["Naming"]

# "American Express" and "Ulta Beauty" are often one word in the name of a file.
MOST_JOINED = 3
# A letter or a figure by itself names nothing.
LEAST_LETTERS = 2
# So many words that no other document has in its name make it certain which one is meant.
CERTAIN = 2


class Naming:
    """The words of a question that stand in names of documents, each worth the more the fewer names have it."""

    def __init__(self, question: str, collections: Sequence[WordsOfNames]) -> None:
        documents = sum(names.documents for names in collections)
        having = {word: [names.having(word) for names in collections] for word in _asked(question)}
        counts = {word: sum(map(len, contents)) for word, contents in having.items()}
        self._having = {word: contents for word, contents in having.items() if counts[word]}
        self._worth = {word: _rarity(counts[word], documents) for word in self._having}
        self._most = max(sum(self._worth.values()), CERTAIN * _rarity(1, documents))
        self._in_name: dict[ContentKey, Set[str]] = {}

    def __bool__(self) -> bool:
        """Whether the question names anything."""
        return bool(self._worth)

    def share(self, content: ContentKey, text: str = "") -> float:
        """How much of what is named a document has in its name or, where it is given, a passage in its text: 0 to 1.

        Text counts as a name does, for many documents may speak of what only one has in its name.
        """
        had = self._in_name.get(content)
        if had is None:
            had = self._in_name[content] = {word for word, names in self._having.items() if _is_in(content, names)}
        if text:
            folded = text.casefold()
            had = had | {word for word in self._worth if word in folded}
        return math.fsum(self._worth[word] for word in had) / self._most


def _is_in(content: ContentKey, collections: Sequence[Set[ContentKey]]) -> bool:
    return any(content in contents for contents in collections)


def _rarity(count: int, documents: int) -> float:
    """BM25's inverse document frequency, in the form that is never negative."""
    return math.log1p((documents - count + 0.5) / (count + 0.5))


def _asked(question: str) -> set[str]:
    """Words that a name may have. Who writes one name large writes all of them large."""
    words = WORD_OF_NAME.findall(question)
    if any(_is_large(word) for word in words[1:]):
        words = [word for word in words if _is_large(word) or any(map(str.isdigit, word))]
    words = [word for word in words if word.casefold() not in QUESTION_WORDS | JOINING_WORDS]
    runs = ("".join(words[place : place + size]) for size in range(1, MOST_JOINED + 1) for place in range(len(words)))
    return {word for run in runs for word in words_of_name(run) if len(word) >= LEAST_LETTERS}


def _is_large(word: str) -> bool:
    return any(map(str.isupper, word))
