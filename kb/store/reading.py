"""What a collection holds. Nothing here writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from kb.config import StorageSettings
from kb.store import indexes
from kb.store.failures import store_errors
from kb.store.filters import quoted_list
from kb.store.recall import index_state
from kb.store.schemas import SPACE_KEY, document_from_row
from kb.store.tables import Tables
from kb.types import ContentKey, Document

__all__ = ["Run", "Statistics", "StoreReader"]


@dataclass(frozen=True, slots=True)
class Run:
    """A line of the ledger. `report` is JSON, as `kb ingest --json` prints it."""

    started_at: datetime
    seconds: float
    summary: str
    exit_status: int
    report: str


@dataclass(frozen=True, slots=True)
class _Documents:
    by_path: dict[str, Document]
    by_content: dict[ContentKey, list[Document]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a collection holds."""

    documents: int
    documents_by_status: dict[str, int]
    pages: int
    chunks: int
    bytes: int
    vector_index: str
    vector_recall: float | None  # recall@10 of the index against exact search, when it was last measured

    @property
    def index_in_words(self) -> str:
        """The vector index and how much it finds, for a person."""
        found = f", finds {self.vector_recall:.1%} of the true ten nearest" if self.vector_recall is not None else ""
        return self.vector_index + found


class StoreReader:
    """One collection, as it can be read. Every error is a StoreError."""

    def __init__(self, settings: StorageSettings) -> None:
        self.uri = f"{settings.uri.rstrip('/')}/{settings.collection}"
        self._lock = threading.RLock()
        self._tables = Tables(self.uri)
        self._documents: tuple[int, _Documents] | None = None

    @property
    def is_local(self) -> bool:
        """Whether it lies in a folder, not on object storage."""
        return self._tables.are_local

    @property
    def exists(self) -> bool:
        """Whether something was ever written to it."""
        return self._tables.get("documents") is not None

    # --- what is there -------------------------------------------------------------------------------------------

    def documents(self) -> dict[str, Document]:
        """All documents by path."""
        return self._read_documents().by_path

    def contents(self) -> dict[ContentKey, list[Document]]:
        """All documents by content and recipe, those of the same content in the order of their paths."""
        return self._read_documents().by_content

    def _read_documents(self) -> _Documents:
        """Read again only when the table has changed."""
        table = self._tables.get("documents")
        if table is None:
            return _Documents({}, {})
        with self._lock, store_errors(self.uri):
            version = table.version
            if self._documents is None or self._documents[0] != version:
                rows = sorted(table.to_arrow().to_pylist(), key=lambda row: str(row["path"]))
                by_path = {row["path"]: document_from_row(row) for row in rows}
                by_content: dict[ContentKey, list[Document]] = {}
                for document in by_path.values():
                    by_content.setdefault(document.content, []).append(document)
                self._documents = (version, _Documents(by_path, by_content))
            return self._documents[1]

    @property
    def space(self) -> str | None:
        """The embedding space of the vectors, as it was given to `commit`."""
        table = self._tables.get("chunks")
        if table is None:
            return None
        with store_errors(self.uri):
            told = (table.schema.metadata or {}).get(SPACE_KEY)
        return told.decode() if told is not None else None

    def passages(self, size: int) -> Iterator[pa.RecordBatch]:
        """All rows of the chunks table but their vectors, `size` at a time."""
        table = self._tables.get("chunks")
        if table is not None:
            columns = [name for name in table.schema.names if name != "vector"]
            with store_errors(self.uri):
                yield from table.search().select(columns).to_batches(size)

    def page_text(self, document: Document, page: int) -> str:
        """The text of one page, empty where the page has none."""
        table = self._tables.get("pages")
        if table is None:
            return ""
        identity = f"{document.doc_id}:{document.recipe}:{page}"
        with store_errors(self.uri):
            rows = table.search().where(f"page_id = {quoted_list([identity])}").limit(1).to_list()
        return str(rows[0]["text"]) if rows else ""

    def rows(
        self, name: str, columns: Sequence[str], where: Mapping[str, str | int], *, limit: int = 10_000
    ) -> list[dict[str, Any]]:
        """Rows of a table in which each of these columns has its value."""
        table = self._tables.get(name)
        if table is None:
            return []
        tests = [f"{key} = {value if isinstance(value, int) else quoted_list([value])}" for key, value in where.items()]
        with store_errors(self.uri):
            found: list[dict[str, Any]] = (
                table.search().where(" AND ".join(tests)).select(list(columns)).limit(limit).to_list()
            )
        return found

    def each(self, name: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Every row of a table, these columns of it."""
        table = self._tables.get(name)
        if table is not None:
            with store_errors(self.uri):
                for batch in table.search().select(list(columns)).to_batches(4096):
                    yield from batch.to_pylist()

    def sample(self, columns: Sequence[str], count: int) -> pa.Table | None:
        """About `count` chunks spread evenly over the table, the same ones each time; None where there are none."""
        table = self._tables.get("chunks")
        if table is None:
            return None
        with store_errors(self.uri):
            total = table.count_rows()
            offsets = [index * total // count for index in range(count)] if total > count else list(range(total))
            return table.take_offsets(offsets).select(list(columns)).to_arrow() if offsets else None

    def runs(self, limit: int = 50) -> list[Run]:
        """The ledger, the latest run first."""
        table = self._tables.get("runs")
        if table is None:
            return []
        with store_errors(self.uri):
            rows = table.to_arrow().sort_by([("started_at", "descending")]).slice(0, limit).to_pylist()
        return [Run(**row) for row in rows]

    def space_on_disk(self) -> dict[str, int]:
        """Bytes of each table with its indexes and old versions, and of what lies beside the collections."""
        if not self.is_local:
            return {}
        folder = Path(self.uri)
        parts = {path.name.removesuffix(".lance"): path for path in sorted(folder.glob("*.lance"))}
        beside = {path.name.lstrip("."): path for path in (folder.parent / ".cache", folder.parent / ".uploads")}
        return {
            name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            for name, path in (parts | beside).items()
            if path.is_dir()
        }

    @property
    def chunk_count(self) -> int:
        """Rows of the chunks table."""
        table = self._tables.get("chunks")
        with store_errors(self.uri):
            return int(table.count_rows()) if table is not None else 0

    def statistics(self) -> Statistics:
        """Counts and sizes, for status."""
        documents = self.documents().values()
        by_status: dict[str, int] = {}
        for document in documents:
            by_status[str(document.status)] = by_status.get(str(document.status), 0) + 1
        chunks = self._tables.get("chunks")
        with store_errors(self.uri):
            index = indexes.index_of(chunks, "vector") if chunks is not None else None
            state = index_state(self._tables)
            return Statistics(
                documents=len(documents),
                documents_by_status=by_status,
                pages=sum(document.page_count for document in documents),
                chunks=self.chunk_count,
                bytes=sum(
                    int(table.stats()["total_bytes"])
                    for name in ("documents", "pages", "chunks")
                    if (table := self._tables.get(name)) is not None
                ),
                vector_index=str(index.index_type) if index is not None else "exact",
                vector_recall=state.recall if index is not None and state is not None else None,
            )
