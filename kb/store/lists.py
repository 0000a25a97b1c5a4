"""The lists that searches of a collection are made of, and the rows of what they find."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from kb.config import StorageSettings
from kb.store.failures import store_errors
from kb.store.filters import Filter, quoted_list
from kb.store.indexes import Effort
from kb.store.name_words import WordsOfNames
from kb.store.places import PlacesByTable, filled
from kb.store.reading import StoreReader
from kb.store.recall import index_state
from kb.store.searching import PAGE_PLACE, PASSAGE, ROW_ID, Candidate, asynchronous, begun, matching, nearest, taken
from kb.types import ContentKey, Document, Vector

__all__ = ["Searching", "StoreLists"]


@dataclass(frozen=True, slots=True)
class Searching:
    """A list under way. Nobody waits for it in a thread: several lists are searched side by side by beginning them."""

    _store: StoreReader
    _candidates: Future[list[Candidate]] | None = None

    def result(self, committed: Container[ContentKey] | None = None) -> list[Candidate]:
        """Waits for it: candidates of committed documents only, best first. Raises StoreError.

        `committed` is the store's contents where they were asked for since the list was begun.
        """
        if self._candidates is None:
            return []
        with store_errors(self._store.uri):
            found = self._candidates.result()
        if committed is None:
            committed = self._store.contents()
        return [candidate for candidate in found if (candidate.row["doc_id"], candidate.row["recipe"]) in committed]


class StoreLists(StoreReader):
    """One collection, as it can be searched."""

    def __init__(self, settings: StorageSettings) -> None:
        super().__init__(settings)
        self._places = PlacesByTable(self.uri)
        self._effort: tuple[int, Effort] | None = None  # with the version of the table it is kept in
        self._names: tuple[Mapping[ContentKey, Sequence[Document]], WordsOfNames] | None = None
        self._with_words: dict[str, int] = {}  # tables by name that have a full-text index, and their version

    def details(self, row_ids: Sequence[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Columns of chunks by the row ids of candidates; those that an ingest has moved since are left out."""
        table = self._tables.get("chunks")
        if table is None or not row_ids:
            return {}
        with store_errors(self.uri):
            rows = begun(self._taken(table, row_ids, columns)).result()
        return {row.pop(ROW_ID): row for row in rows}

    async def _taken(self, table: Any, row_ids: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        queried = asynchronous(table)
        places = self._places.of("chunks", table, await queried.version())
        return await filled(places, columns, lambda read: taken(queried, row_ids, read), lambda found: found)

    def words_of_names(self, contents: Mapping[ContentKey, Sequence[Document]]) -> WordsOfNames:
        """Which of the store's contents have which words in their names; looked through only when others are given."""
        names = self._names
        if names is None or names[0] is not contents:
            names = self._names = (contents, WordsOfNames(contents))
        return names[1]

    def nearest(
        self, vector: Vector, *, limit: int, where: Filter | None = None, columns: Sequence[str] = PASSAGE
    ) -> Searching:
        """Chunks by cosine similarity to a vector of shape (dimension,), float32."""
        effort = self._effort_of_searches()

        def searched(table: Any, read: Sequence[str], condition: str | None) -> Awaitable[list[Candidate]]:
            return nearest(table, vector, columns=read, limit=limit, effort=effort, condition=condition)

        return self._begun("chunks", columns, where, searched)

    def _effort_of_searches(self) -> Effort:
        """What was found to be enough; looked up again only when it was measured since."""
        table = self._tables.get("state")
        with self._lock, store_errors(self.uri):
            version = table.version if table is not None else 0
            if self._effort is None or self._effort[0] != version:
                state = index_state(self._tables)
                self._effort = (version, state.effort if state is not None else Effort())
            return self._effort[1]

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, Vector]:
        """Vectors of chunks by id: float32, shape (dimension,)."""
        table = self._tables.get("chunks")
        if table is None or not chunk_ids:
            return {}
        with store_errors(self.uri):
            condition = f"chunk_id IN ({quoted_list(list(chunk_ids))})"
            rows = table.search().where(condition).select(["chunk_id", "vector"]).limit(len(chunk_ids)).to_list()
        return {row["chunk_id"]: np.asarray(row["vector"], np.float32) for row in rows}

    def matching_chunks(
        self, query: str, *, limit: int, where: Filter | None = None, columns: Sequence[str] = PASSAGE
    ) -> Searching:
        """Chunks by BM25 of title, section and text."""
        return self._matching("chunks", query, columns, limit, where)

    def matching_pages(self, query: str, *, limit: int, where: Filter | None = None) -> Searching:
        """Pages by BM25 of their document's names and their text."""
        return self._matching("pages", query, PAGE_PLACE, limit, where)

    def _matching(self, name: str, query: str, columns: Sequence[str], limit: int, where: Filter | None) -> Searching:
        async def searched(table: Any, read: Sequence[str], condition: str | None) -> list[Candidate]:
            if not await self._has_words(name, table):  # killed before the first ingest's end
                return []
            return await matching(table, query, columns=read, limit=limit, condition=condition)

        return self._begun(name, columns, where, searched)

    async def _has_words(self, name: str, table: Any) -> bool:
        """Whether full text is indexed; looked up again only when the table has changed."""
        version = await table.version()
        if self._with_words.get(name) != version:
            if not any(index.columns == ["searched_text"] for index in await table.list_indices()):
                return False
            self._with_words[name] = version
        return True

    def _begun(
        self,
        name: str,
        columns: Sequence[str],
        where: Filter | None,
        search: Callable[[Any, Sequence[str], str | None], Awaitable[list[Candidate]]],
    ) -> Searching:
        """A search for candidates with these columns, those read that are not in memory."""
        table = self._tables.get(name)
        if table is None:
            return Searching(self)
        condition = where.condition(self.documents().values()) if where else None
        queried = asynchronous(table)

        async def candidates() -> list[Candidate]:
            return await filled(
                self._places.of(name, table, await queried.version()),
                columns,
                lambda read: search(queried, read, condition),
                lambda found: [candidate.row for candidate in found],
            )

        return Searching(self, begun(candidates()))
