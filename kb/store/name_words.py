"""Which documents have a word in their file's name or in that of a folder that it lies in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from unicodedata import normalize

from kb.types import ContentKey, Document

__all__ = ["WORD_OF_NAME", "WordsOfNames", "words_of_name"]

WORD_OF_NAME = re.compile(r"[^\W_]+")
# "FY2018" is also 2018, "10K" also 10.
PART = re.compile(r"[^\W\d_]+|\d+")


class WordsOfNames:
    """The names of a collection's documents, by word."""

    def __init__(self, contents: Mapping[ContentKey, Sequence[Document]]) -> None:
        self.documents = len(contents)
        self._having: dict[str, set[ContentKey]] = {}
        for content, documents in contents.items():
            for document in documents:
                folder, _, name = document.path.rpartition("/")
                for word in (*_words_of_folder(folder), *words_of_name(name.rpartition(".")[0] or name)):
                    self._having.setdefault(word, set()).add(content)

    def having(self, word: str) -> Set[ContentKey]:
        """The contents with this word, its case folded, in the name of one of their files."""
        return self._having.get(word, frozenset())


def words_of_name(name: str) -> Iterator[str]:
    """Words with their case folded, and the letters and figures that they are made of; some more than once."""
    # Names come decomposed from some file systems: "u" and two dots are what a person types as "ü".
    for word in WORD_OF_NAME.findall((name if name.isascii() else normalize("NFKC", name)).casefold()):
        yield word
        if not word.isalpha():
            yield from PART.findall(word)


@lru_cache(maxsize=4096)  # most documents share theirs
def _words_of_folder(folder: str) -> frozenset[str]:
    return frozenset(words_of_name(folder))
