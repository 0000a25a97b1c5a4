"""The lists of a search, asked of every collection at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from kb.config import SearchSettings
from kb.search.question import content_words
from kb.store import PLACE, Candidate, Filter, Store
from kb.types import Vector

__all__ = ["LISTS", "ask"]

LISTS = {"vector": ("vector",), "text": ("text", "page"), "hybrid": ("vector", "text", "page")}


def ask(
    stores: Sequence[Store],
    question: str,
    *,
    embed_query: Callable[[str], Vector],
    settings: SearchSettings,
    where: Filter | None,
) -> dict[str, list[Candidate]]:
    """Candidates of each list that the mode asks for, best first: where they stand, no text yet.

    A row says by "collection" which store it is from, and by "_rowid" where in it.
    """
    words = content_words(question)
    limit = max(settings.candidates, settings.limit)

    def found(name: str, store: Store, vector: Vector | None) -> list[Candidate]:
        if vector is not None:
            return store.nearest(vector, limit=limit, where=where, columns=PLACE)
        if name == "text":
            return store.matching_chunks(words, limit=limit, where=where, columns=PLACE)
        return store.matching_pages(words, limit=limit, where=where)

    names = LISTS[settings.mode]
    lists: dict[str, list[Candidate]] = {name: [] for name in names}
    with ThreadPoolExecutor(len(names) * len(stores)) as threads:
        # Full text is under way while the endpoint embeds the question.
        running = [
            (name, place, threads.submit(found, name, store, None))
            for name in names
            if name != "vector"
            for place, store in enumerate(stores)
        ]
        if "vector" in names:
            vector = embed_query(question)
            running += [
                ("vector", place, threads.submit(found, "vector", store, vector)) for place, store in enumerate(stores)
            ]
        for name, place, future in running:
            for candidate in future.result():
                candidate.row["collection"] = place
                lists[name].append(candidate)
    return {name: sorted(items, key=lambda item: -item.score)[:limit] for name, items in lists.items()}
