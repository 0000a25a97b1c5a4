"""From a question to cited hits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kb.config import SearchSettings
from kb.errors import StoreError
from kb.search.candidates import Contents, Found, ask
from kb.search.diversity import diversified
from kb.search.figures import shares_of_figures
from kb.search.fusion import Fused, Fusion, PageKey
from kb.search.hits import hit_of
from kb.search.named import Naming
from kb.search.neighbours import at_most_per_page, merged, worth_reading_on
from kb.search.pairs import worth_of_pairs
from kb.search.passages import MovedError, complete
from kb.search.question import checked, content_words
from kb.store import Candidate, Filter, Store
from kb.types import Document, Hit, Vector

__all__ = ["Reranker", "search"]

# Passages that are searched for pairs of words; with 30, 50, 100 or all the order comes out as good, with 20 worse.
LOOKED_AT = 30
# How often a search begins anew because an ingest moves what it has found.
ATTEMPTS = 3


class Reranker(Protocol):
    """Scores texts for a question by reading both together."""

    @property
    def candidates(self) -> int:
        """How many of the best hits are reranked."""

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, higher is better. Raises EndpointError."""


def search(
    stores: Sequence[Store],
    query: str,
    *,
    embed_query: Callable[[str], Vector],
    settings: SearchSettings,
    where: Filter | None = None,
    reranker: Reranker | None = None,
) -> list[Hit]:
    """Hits for a question over one or several collections, best first, at most `settings.limit`.

    Raises QueryError for an empty or an endless query, StoreError or EndpointError.
    """
    question = checked(query)
    where = None if where == Filter() else where
    for attempt in range(ATTEMPTS):
        try:
            found = ask(stores, question, embed_query=embed_query, settings=settings, where=where)
            best = _best(stores, question, found, settings=settings, reranker=reranker)
            break
        except MovedError:
            if attempt == ATTEMPTS - 1:
                raise StoreError("it was rewritten meanwhile", where=stores[0].uri, fix="Search again.") from None
    return [
        hit_of(item, rank=rank, documents=_documents(found.contents, item), where=where, question=question)
        for rank, item in enumerate(best, start=1)
    ]


def _best(
    stores: Sequence[Store],
    question: str,
    found: Found,
    *,
    settings: SearchSettings,
    reranker: Reranker | None,
) -> list[Fused]:
    """The chunks that become hits, in their order. Raises MovedError."""
    fused = _fused(stores, question, found, settings)
    best = at_most_per_page(fused, settings.per_page)
    if reranker is not None:
        complete(stores, best[: reranker.candidates])
        best = _reranked(best, question, reranker)
    if settings.diversity:
        best = best[: max(settings.candidates, settings.limit)]
        complete(stores, best)
        best = diversified(best, _vectors(stores, best), diversity=settings.diversity, limit=settings.limit)
    best = best[: settings.limit]
    by_page: dict[PageKey, list[Fused]] = {}
    for item in fused:
        by_page.setdefault(item.page, []).append(item)
    runs = [worth_reading_on(item, by_page[item.page]) if settings.neighbours else [item] for item in best]
    complete(stores, list({id(item.row): item for run in runs for item in run}.values()))
    return [merged(item, run) for item, run in zip(best, runs, strict=True)]


def _fused(stores: Sequence[Store], question: str, found: Found, settings: SearchSettings) -> list[Fused]:
    """The lists as one order; the best are then looked through for what the question's words mean together."""
    weights = {
        "vector": settings.vector_weight,
        "text": settings.text_weight,
        "page": settings.page_weight,
        "pair": settings.pair_weight,
        "figure": settings.figure_weight,
        "name": settings.name_weight,
        "document": settings.document_weight if len(found.lists) > 1 else 0.0,
    }
    fusion = Fusion(found.lists, limit=max(settings.candidates, settings.limit), method=settings.fusion)
    if "text" not in found.lists:
        return fusion.ranked(weights)
    known = zip(stores, found.contents, strict=True)
    naming = Naming(question, [store.words_of_names(contents) for store, contents in known])

    def named(row: Mapping[str, Any]) -> float:
        return naming.share((row["doc_id"], row["recipe"]), row.get("searched_text", ""))

    if naming:
        fusion.rate("name", named)
    fused = fusion.ranked(weights)
    if not (settings.pair_weight or settings.figure_weight or (naming and settings.name_weight)):
        return fused
    looked_at = fused[:LOOKED_AT]
    complete(stores, looked_at)
    texts = [str(item.row["searched_text"]) for item in looked_at]
    for name, scores in (
        ("pair", worth_of_pairs(content_words(question), texts)),
        ("figure", shares_of_figures(question, texts)),
    ):
        fusion.add(name, [Candidate(item.row, score) for item, score in zip(looked_at, scores, strict=True) if score])
    if naming:
        fusion.rate("name", named)
    return fusion.ranked(weights)


def _reranked(items: list[Fused], question: str, reranker: Reranker) -> list[Fused]:
    """The best of the items in the reranker's order, the others behind them."""
    first, others = items[: reranker.candidates], items[reranker.candidates :]
    if not first:
        return items
    scores = reranker.score(question, [item.row["text"] for item in first])
    for item, score in zip(first, scores, strict=True):
        item.score = score
    first.sort(key=lambda item: -item.score)
    for rank, item in enumerate(first, start=1):
        item.ranks["rerank"] = rank
    lowest = first[-1].score
    for place, item in enumerate(others, start=1):  # their order stays, below everything that was read
        item.score = lowest - place
    return first + others


def _vectors(stores: Sequence[Store], items: Sequence[Fused]) -> dict[str, Vector]:
    found: dict[str, Vector] = {}
    for place, store in enumerate(stores):
        found |= store.vectors([item.row["chunk_id"] for item in items if item.row["collection"] == place])
    return found


def _documents(contents: Sequence[Contents], item: Fused) -> list[Document]:
    """Every document with this content, in whichever of the collections."""
    key = (item.row["doc_id"], item.row["recipe"])
    by_path = {document.path: document for content in contents for document in content.get(key, ())}
    return [by_path[path] for path in sorted(by_path)]
