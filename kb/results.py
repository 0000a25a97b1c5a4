"""What a search and a status give back: lists and data that also show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kb.exports import to_bibtex, to_csv
from kb.html import render
from kb.shown import Shown
from kb.store import Statistics
from kb.types import Document, Hit

__all__ = ["Answers", "SearchResult", "Status"]


class SearchResult(Shown, list[Hit]):
    """The hits of a query, best first."""

    def __init__(self, query: str, hits: Iterable[Hit]) -> None:
        super().__init__(hits)
        self.query = query

    def to_dict(self) -> dict[str, Any]:
        """The result as `kb search --json` prints it; pages count from 1."""
        return {"query": self.query, "hits": [hit.to_dict() for hit in self]}

    def by_document(self) -> SearchResult:
        """The same hits, those of one document together, the document with the best hit first."""
        order = {document: place for place, document in enumerate(dict.fromkeys(hit.document for hit in self))}
        return SearchResult(self.query, sorted(self, key=lambda hit: (order[hit.document], hit.rank)))

    def to_csv(self) -> str:
        """One line a hit, for a spreadsheet."""
        return to_csv(self)

    def to_bibtex(self, documents: Mapping[str, Document]) -> str:
        """One entry a document, with the pages of its hits; `documents` are the collection's."""
        return to_bibtex(self, documents)

    def _repr_html_(self) -> str:
        return render("hits.html", result=self)

    def to_text(self) -> str:
        """The question, and a paragraph for each hit."""
        hits = [f"{hit.rank}. {hit.citation}\n   {' '.join(hit.text.split())}" for hit in self]
        return "\n".join([self.query, *(hits or ["No hits."])])


class Answers(Shown, list[SearchResult]):
    """The results of several queries, in the order asked."""

    def to_dict(self) -> dict[str, Any]:
        """One entry for each query."""
        return {"answers": [result.to_dict() for result in self]}

    def _repr_html_(self) -> str:
        return "".join(result._repr_html_() for result in self)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return "\n\n".join(result.to_text() for result in self)


@dataclass(frozen=True, slots=True)
class Status(Shown):
    """What a collection holds, and in which embedding space its vectors are."""

    store: str
    statistics: Statistics
    model: str
    dimension: int
    embedding: dict[str, float]  # of the latest ingest: texts sent, cache hits and misses
    incomplete: tuple[Document, ...]  # documents that failed or of which some pages cannot be found

    @property
    def cache_use(self) -> str:
        """How much of the latest ingest the embedding cache spared, for a person."""
        hits, misses = self.embedding.get("cache_hits", 0), self.embedding.get("cache_misses", 0)
        return f"{hits:.0f} of {hits + misses:.0f} passages of the latest ingest" if hits + misses else "not used yet"

    def to_dict(self) -> dict[str, Any]:
        """The status as `kb status --json` prints it."""
        incomplete = [
            {
                "path": document.path,
                "status": str(document.status),
                "reason": document.reason,
                "pages_without_text": list(document.pages_without_text),
            }
            for document in self.incomplete
        ]
        space = {"model": self.model, "dimension": self.dimension, "embedding": self.embedding}
        return {"store": self.store, **asdict(self.statistics), **space, "incomplete": incomplete}

    def _repr_html_(self) -> str:
        return render("status.html", status=self)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return str(self.to_dict())
