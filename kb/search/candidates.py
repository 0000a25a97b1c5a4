"""The lists of a search, asked of every collection at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kb.config import SearchSettings
from kb.search.question import content_words
from kb.store import PLACE, Candidate, Filter, Searching, Store
from kb.types import ContentKey, Document, Vector

__all__ = ["LISTS", "Contents", "Found", "ask"]

Contents = Mapping[ContentKey, Sequence[Document]]

LISTS = {"vector": ("vector",), "text": ("text", "page"), "hybrid": ("vector", "text", "page")}


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates by list, and the contents of each collection that they are of."""

    lists: Mapping[str, Sequence[Candidate]]
    contents: Sequence[Contents]


def ask(
    stores: Sequence[Store],
    question: str,
    *,
    embed_query: Callable[[str], Vector],
    settings: SearchSettings,
    where: Filter | None,
) -> Found:
    """Candidates of each list that the mode asks for, best first: where they stand, no text yet.

    A row says by "collection" which store it is from, and by "_rowid" where in it.
    """
    words = content_words(question)
    limit = max(settings.candidates, settings.limit)
    names = LISTS[settings.mode]
    lists: dict[str, list[Candidate]] = {name: [] for name in names}
    running: list[tuple[str, int, Searching]] = []
    # Full text is under way while the endpoint embeds the question.
    for place, store in enumerate(stores):
        if "text" in names:
            running.append(("text", place, store.matching_chunks(words, limit=limit, where=where, columns=PLACE)))
        if "page" in names:
            running.append(("page", place, store.matching_pages(words, limit=limit, where=where)))
    if "vector" in names:
        vector = embed_query(question)
        for place, store in enumerate(stores):
            running.append(("vector", place, store.nearest(vector, limit=limit, where=where, columns=PLACE)))
    contents = [store.contents() for store in stores]  # while the lists are under way
    for name, place, searching in running:
        for candidate in searching.result(contents[place]):
            candidate.row["collection"] = place
            lists[name].append(candidate)
    best = {name: sorted(items, key=lambda item: -item.score)[:limit] for name, items in lists.items()}
    return Found(best, contents)
