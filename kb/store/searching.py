"""The lists that a search is made of: chunks by vector, chunks by words, pages by words.

A list of a hundred brings what it is ranked by; what is shown of the few that become hits is read by row id. At
200,000 chunks every column of a hundred scattered rows costs as much as finding them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lancedb.query import MatchQuery

from kb.store.indexes import Effort
from kb.types import Vector

__all__ = ["PASSAGE", "PLACE", "ROW_ID", "Candidate", "matching", "nearest", "taken"]

ROW_ID = "_rowid"
PAGE_PLACE = ("doc_id", "recipe", "page")
PLACE = (*PAGE_PLACE, "position")
PASSAGE = ("chunk_id", *PLACE, "last_page", "page_label", "section", "text")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk or page that one list found. `score`: higher is better, comparable within its list only."""

    row: dict[str, Any]
    score: float


def nearest(
    table: Any, vector: Vector, *, columns: Sequence[str], limit: int, effort: Effort, condition: str | None
) -> list[Candidate]:
    """Chunks by cosine similarity to a vector of shape (dimension,), float32."""
    query = table.search(vector, vector_column_name="vector").distance_type("cosine")
    rows = _rows(effort.on(query, limit).select([*columns, "_distance"]), limit, condition)
    return [Candidate(row, 1.0 - float(row.pop("_distance"))) for row in rows]


def matching(table: Any, query: str, *, columns: Sequence[str], limit: int, condition: str | None) -> list[Candidate]:
    """Rows by BM25 of the words that are searched."""
    if not query.strip():
        return []
    match: Any = MatchQuery
    search = table.search(match(query, "searched_text"), query_type="fts")
    rows = _rows(search.select([*columns, "_score"]), limit, condition)
    return [Candidate(row, float(row.pop("_score"))) for row in rows]


def taken(table: Any, row_ids: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by their ids, without those that are not there any more; each says which it is."""
    query = table.take_row_ids(list(row_ids)).select(list(columns)).with_row_id()
    rows: list[dict[str, Any]] = query.to_arrow().to_pylist()
    return rows


def _rows(query: Any, limit: int, condition: str | None) -> list[dict[str, Any]]:
    if condition:
        query = query.where(condition, prefilter=True)
    rows: list[dict[str, Any]] = query.with_row_id(True).limit(limit).to_arrow().to_pylist()
    return rows
