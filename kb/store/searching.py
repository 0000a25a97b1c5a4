"""The lists that a search is made of: chunks by vector, chunks by words, pages by words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lancedb.query import MatchQuery

from kb.store import indexes
from kb.types import Vector

__all__ = ["Candidate", "matching", "nearest"]

CANDIDATE_COLUMNS = [
    "chunk_id", "doc_id", "recipe", "position", "page", "last_page", "page_label", "section", "text",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk or page that one list found. `score`: higher is better, comparable within its list only."""

    row: dict[str, Any]
    score: float


def nearest(table: Any, vector: Vector, *, limit: int, nprobes: int, condition: str | None) -> list[Candidate]:
    """Chunks by cosine similarity to a vector of shape (dimension,), float32."""
    query = table.search(vector, vector_column_name="vector").distance_type("cosine")
    query = query.nprobes(nprobes).refine_factor(indexes.refine_factor(limit))
    rows = _rows(query.select([*CANDIDATE_COLUMNS, "_distance"]), limit, condition)
    return [Candidate(row, 1.0 - float(row.pop("_distance"))) for row in rows]


def matching(
    table: Any, query: str, *, column: str, columns: list[str] = CANDIDATE_COLUMNS, limit: int, condition: str | None
) -> list[Candidate]:
    """Rows by BM25 of a column's words."""
    if not query.strip() or indexes.index_of(table, column) is None:  # none: killed before the first ingest's end
        return []
    match: Any = MatchQuery
    search = table.search(match(query, column), query_type="fts")
    rows = _rows(search.select([*columns, "_score"]), limit, condition)
    return [Candidate(row, float(row.pop("_score"))) for row in rows]


def _rows(query: Any, limit: int, condition: str | None) -> list[dict[str, Any]]:
    if condition:
        query = query.where(condition, prefilter=True)
    rows: list[dict[str, Any]] = query.limit(limit).to_arrow().to_pylist()
    return rows
