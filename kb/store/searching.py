"""The lists that a search is made of: chunks by vector, chunks by words, pages by words.

A list of a hundred brings what it is ranked by; what is shown of the few that become hits is read by row id. At
200,000 chunks every column of a hundred scattered rows costs as much as finding them.

Tables are LanceDB's asynchronous ones: its blocking calls go to the thread of its event loop and back several times for
each query, and make one after the other of what was asked side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from lancedb.background_loop import LOOP
from lancedb.query import MatchQuery

from kb.store.indexes import Effort
from kb.types import Vector

__all__ = ["PASSAGE", "PLACE", "ROW_ID", "Candidate", "asynchronous", "begun", "matching", "nearest", "taken"]

ROW_ID = "_rowid"
PAGE_PLACE = ("doc_id", "recipe", "page")
PLACE = (*PAGE_PLACE, "position")
PASSAGE = ("chunk_id", *PLACE, "last_page", "page_label", "section", "text")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk or page that one list found. `score`: higher is better, comparable within its list only."""

    row: dict[str, Any]
    score: float


def asynchronous(table: Any) -> Any:
    """The table that LanceDB's blocking one calls: what was written through it is seen at once.

    There is no public way to it, and one opened anew would see that a second later, as other processes do.
    """
    return table._table


def begun(coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
    """A coroutine under way on LanceDB's event loop, where its asynchronous tables do their work."""
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP.loop)


async def nearest(
    table: Any, vector: Vector, *, columns: Sequence[str], limit: int, effort: Effort, condition: str | None
) -> list[Candidate]:
    """Chunks by cosine similarity to a vector of shape (dimension,), float32."""
    query = table.query().nearest_to(vector).column("vector").distance_type("cosine")
    rows = await _rows(effort.on(query, limit).select([*columns, "_distance"]), limit, condition)
    return [Candidate(row, 1.0 - float(row.pop("_distance"))) for row in rows]


async def matching(
    table: Any, query: str, *, columns: Sequence[str], limit: int, condition: str | None
) -> list[Candidate]:
    """Rows by BM25 of the words that are searched."""
    if not query.strip():
        return []
    match: Any = MatchQuery
    search = table.query().nearest_to_text(match(query, "searched_text"))
    rows = await _rows(search.select([*columns, "_score"]), limit, condition)
    return [Candidate(row, float(row.pop("_score"))) for row in rows]


async def taken(table: Any, row_ids: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by their ids, without those that are not there any more; each says which it is."""
    query = table.take_row_ids(list(row_ids)).select(list(columns)).with_row_id()
    rows: list[dict[str, Any]] = (await query.to_arrow()).to_pylist()
    return rows


async def _rows(query: Any, limit: int, condition: str | None) -> list[dict[str, Any]]:
    if condition:
        query = query.where(condition)
    rows: list[dict[str, Any]] = (await query.with_row_id().limit(limit).to_arrow()).to_pylist()
    return rows
