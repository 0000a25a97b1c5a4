"""The search flow: a vector list, a full-text list and a list of pages, fused into cited hits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kb.chunk import SECTION_SEPARATOR
from kb.config import SearchSettings
from kb.errors import QueryError
from kb.store import Candidate, Filter, Store
from kb.types import Document, Hit, Vector

__all__ = ["MAX_QUERY", "search"]

# Longer queries are a mistake (a pasted document), and no model reads them.
MAX_QUERY = 10_000

# A page is a larger unit than a chunk: (content, page number).
PageKey = tuple[str, str, int]


@dataclass(slots=True)
class Fused:
    """A chunk on its way to a hit: its row, its score so far, and its rank in each list."""

    row: dict[str, Any]
    score: float = 0.0
    ranks: dict[str, int] = field(default_factory=dict)


def search(
    store: Store,
    query: str,
    *,
    embed_query: Callable[[str], Vector],
    settings: SearchSettings,
    where: Filter | None = None,
) -> list[Hit]:
    """Hits for a question, best first, at most `settings.limit`.

    Hybrid search adds up the scores of its lists, each scaled to its own best and worst; on our questions this beats
    reciprocal ranks, which waste how sure full text is. Raises QueryError for an empty or an endless query.
    """
    question = _checked(query)
    where = None if where == Filter() else where
    lists = _lists(store, question, embed_query, settings, where)
    fused = fuse(lists, _weights(settings))
    best = sorted(fused, key=lambda item: (-item.score, item.row["doc_id"], item.row["position"]))
    contents = store.contents()
    return [
        _hit(rank, item, contents[item.row["doc_id"], item.row["recipe"]], where)
        for rank, item in enumerate(best[: settings.limit], start=1)
    ]


def _checked(query: str) -> str:
    question = query.replace("\x00", " ").encode("utf-8", "ignore").decode().strip()
    if not question:
        raise QueryError("the query is empty", fix="Ask something.")
    if len(question) > MAX_QUERY:
        raise QueryError(
            f"the query has {len(question):,} characters", fix=f"Ask in at most {MAX_QUERY:,}; a sentence works best."
        )
    return question


def _lists(
    store: Store, question: str, embed_query: Callable[[str], Vector], settings: SearchSettings, where: Filter | None
) -> dict[str, list[Candidate]]:
    """The lists that the mode asks for, searched at the same time."""
    limit = max(settings.candidates, settings.limit)

    def nearest() -> list[Candidate]:
        return store.nearest(embed_query(question), limit=limit, where=where)

    def matching() -> list[Candidate]:
        return store.matching_chunks(question, limit=limit, where=where)

    def pages() -> list[Candidate]:
        return store.matching_pages(question, limit=limit, where=where)

    searches: dict[str, Callable[[], list[Candidate]]] = {
        "vector": {"vector": nearest},
        "text": {"text": matching},
        "hybrid": {"vector": nearest, "text": matching, "page": pages},
    }[settings.mode]
    with ThreadPoolExecutor(len(searches)) as threads:
        running = {name: threads.submit(run) for name, run in searches.items()}
        return {name: future.result() for name, future in running.items()}


def _weights(settings: SearchSettings) -> dict[str, float]:
    return {"vector": settings.vector_weight, "text": settings.text_weight, "page": settings.page_weight}


def fuse(lists: Mapping[str, Sequence[Candidate]], weights: Mapping[str, float]) -> list[Fused]:
    """Chunks of all lists with their weighted, scaled scores added up; a page's score goes to each of its chunks."""
    fused: dict[str, Fused] = {}
    for name in lists.keys() - {"page"}:
        for rank, (candidate, share) in enumerate(_scaled(lists[name]), start=1):
            item = fused.setdefault(candidate.row["chunk_id"], Fused(candidate.row))
            item.score += weights[name] * share
            item.ranks[name] = rank
    pages: dict[PageKey, tuple[int, float]] = {
        _page(candidate.row): (rank, share)
        for rank, (candidate, share) in enumerate(_scaled(lists.get("page", ())), start=1)
    }
    for item in fused.values():
        if (found := pages.get(_page(item.row))) is not None:
            item.ranks["page"], share = found
            item.score += weights["page"] * share
    return list(fused.values())


def _scaled(candidates: Iterable[Candidate]) -> list[tuple[Candidate, float]]:
    """Candidates, best first, with scores from 0 (the worst of the list) to 1 (the best)."""
    ordered = sorted(candidates, key=lambda candidate: -candidate.score)
    if not ordered:
        return []
    best, worst = ordered[0].score, ordered[-1].score
    spread = best - worst
    return [(candidate, (candidate.score - worst) / spread if spread > 0 else 1.0) for candidate in ordered]


def _page(row: Mapping[str, Any]) -> PageKey:
    return row["doc_id"], row["recipe"], row["page"]


def _hit(rank: int, item: Fused, documents: Sequence[Document], where: Filter | None) -> Hit:
    row = item.row
    cited = [document for document in documents if where is None or where.accepts(document)] or documents
    first = cited[0]
    return Hit(
        rank=rank,
        score=round(item.score, 6),
        document=first.path,
        doc_id=row["doc_id"],
        chunk_id=row["chunk_id"],
        page=row["page"],
        last_page=row["last_page"],
        page_label=row["page_label"],
        section=SECTION_SEPARATOR.join(row["section"]),
        title=first.title,
        text=row["text"],
        also_in=tuple(document.path for document in documents if document is not first),
        channels=item.ranks,
    )
