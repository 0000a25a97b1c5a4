"""A collection on disk or object storage. The documents row is the commit record: what has none does not exist."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from filelock import FileLock, Timeout
from lancedb.query import MatchQuery

from kb.config import StorageSettings
from kb.errors import KnowledgeBaseError, StoreError
from kb.store import indexes
from kb.store.filters import Filter, quoted_list
from kb.store.schemas import (
    DOCUMENTS,
    PAGES,
    RUNS,
    SPACE_KEY,
    IngestedDocument,
    chunk_rows,
    chunks_schema,
    document_from_row,
    document_rows,
    page_rows,
    with_vectors,
)
from kb.types import Document, Vector

__all__ = ["Candidate", "Run", "Statistics", "Store"]

logger = logging.getLogger(__name__)

LOCK_FILE = ".writing.lock"
DELETE_BATCH = 500
# How soon a reader that stays open sees what another process wrote.
FRESHNESS = timedelta(seconds=1)
CANDIDATE_COLUMNS = [
    "chunk_id", "doc_id", "recipe", "position", "page", "last_page", "page_label", "section", "text",
]  # fmt: skip

ContentKey = tuple[str, str]  # doc_id, recipe


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk or page that one list found. `score`: higher is better, comparable within its list only."""

    row: dict[str, Any]
    score: float


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


class Store:
    """One collection. Nothing is created before the first write; every error is a StoreError."""

    def __init__(self, settings: StorageSettings) -> None:
        self.uri = f"{settings.uri.rstrip('/')}/{settings.collection}"
        self._lock = threading.RLock()
        self._connection: Any | None = None
        self._tables: dict[str, Any] = {}
        self._documents: tuple[int, _Documents] | None = None

    @property
    def is_local(self) -> bool:
        """Whether it lies in a folder, not on object storage."""
        return "://" not in self.uri

    @property
    def exists(self) -> bool:
        """Whether something was ever written to it."""
        return self._table("documents") is not None

    # --- what is there -------------------------------------------------------------------------------------------

    def documents(self) -> dict[str, Document]:
        """All documents by path."""
        return self._read_documents().by_path

    def contents(self) -> dict[ContentKey, list[Document]]:
        """All documents by content and recipe, those of the same content in the order of their paths."""
        return self._read_documents().by_content

    def _read_documents(self) -> _Documents:
        """Read again only when the table has changed."""
        table = self._table("documents")
        if table is None:
            return _Documents({}, {})
        with self._lock, _store_errors(self.uri):
            version = table.version
            if self._documents is None or self._documents[0] != version:
                rows = sorted(table.to_arrow().to_pylist(), key=lambda row: str(row["path"]))
                by_path = {row["path"]: document_from_row(row) for row in rows}
                by_content: dict[ContentKey, list[Document]] = {}
                for document in by_path.values():
                    by_content.setdefault((document.doc_id, document.recipe), []).append(document)
                self._documents = (version, _Documents(by_path, by_content))
            return self._documents[1]

    @property
    def space(self) -> str | None:
        """The embedding space of the vectors, as it was given to `commit`."""
        table = self._table("chunks")
        if table is None:
            return None
        with _store_errors(self.uri):
            told = (table.schema.metadata or {}).get(SPACE_KEY)
        return told.decode() if told is not None else None

    def passages(self, size: int) -> Iterator[pa.RecordBatch]:
        """All rows of the chunks table but their vectors, `size` at a time."""
        table = self._table("chunks")
        if table is not None:
            columns = [name for name in table.schema.names if name != "vector"]
            with _store_errors(self.uri):
                yield from table.search().select(columns).to_batches(size)

    def page_text(self, document: Document, page: int) -> str:
        """The text of one page, empty where the page has none."""
        table = self._table("pages")
        if table is None:
            return ""
        identity = f"{document.doc_id}:{document.recipe}:{page}"
        with _store_errors(self.uri):
            rows = table.search().where(f"page_id = {quoted_list([identity])}").limit(1).to_list()
        return str(rows[0]["text"]) if rows else ""

    def runs(self, limit: int = 50) -> list[Run]:
        """The ledger, the latest run first."""
        table = self._table("runs")
        if table is None:
            return []
        with _store_errors(self.uri):
            rows = table.to_arrow().sort_by([("started_at", "descending")]).slice(0, limit).to_pylist()
        return [Run(**row) for row in rows]

    def statistics(self) -> Statistics:
        """Counts and sizes, for status."""
        documents = self.documents().values()
        by_status: dict[str, int] = {}
        for document in documents:
            by_status[str(document.status)] = by_status.get(str(document.status), 0) + 1
        chunks = self._table("chunks")
        with _store_errors(self.uri):
            index = indexes.index_of(chunks, "vector") if chunks is not None else None
            return Statistics(
                documents=len(documents),
                documents_by_status=by_status,
                pages=sum(document.page_count for document in documents),
                chunks=chunks.count_rows() if chunks is not None else 0,
                bytes=sum(
                    int(table.stats()["total_bytes"])
                    for name in ("documents", "pages", "chunks")
                    if (table := self._table(name)) is not None
                ),
                vector_index=str(index.index_type) if index is not None else "exact",
            )

    # --- writing -------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer at a time, over all processes; a second one waits. A killed writer lets go by itself.

        On object storage there is no such lock: run one ingest at a time there.
        """
        if not self.is_local:
            yield
            return
        with _store_errors(self.uri):
            Path(self.uri).mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{self.uri}/{LOCK_FILE}")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.warning("Another ingest writes to %s; waiting until it is done.", self.uri)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def commit(self, ingested: Sequence[IngestedDocument], *, dimension: int, space: str) -> None:
        """Writes documents whole: pages and chunks first, their documents rows last. Doing it twice changes nothing."""
        with _store_errors(self.uri):
            chunks = chunk_rows(ingested, dimension, space)
            pages = page_rows(ingested)
            if pages.num_rows:
                _upsert(self._ensure("pages", PAGES), "page_id", pages)
            if chunks.num_rows:
                _upsert(self._ensure("chunks", chunks_schema(dimension, space)), "chunk_id", chunks)
            self.record([item.document for item in ingested])

    def replace_vectors(self, batches: Iterable[tuple[pa.RecordBatch, Vector]], *, dimension: int, space: str) -> None:
        """Puts other vectors in place of all, and their space with them, in one step: before it nothing has changed."""
        schema = chunks_schema(dimension, space)
        failed: list[Exception] = []

        def rows() -> Iterator[pa.RecordBatch]:
            try:
                for batch, vectors in batches:
                    yield with_vectors(batch, vectors, schema)
            except Exception as error:  # comes out of LanceDB as an error of its own
                failed.append(error)
                raise

        reader = pa.RecordBatchReader.from_batches(schema, rows())
        try:
            with _store_errors(self.uri):  # without the lock: LanceDB asks for the rows in a thread of its own
                table = self._connect().create_table("chunks", data=reader, mode="overwrite")
        except StoreError:
            if failed:
                raise failed[0] from None
            raise
        self._tables["chunks"] = table

    def record(self, documents: Sequence[Document]) -> None:
        """Writes documents rows alone: for files that failed, moved, or are copies of what is there."""
        with _store_errors(self.uri):
            if documents:
                _upsert(self._ensure("documents", DOCUMENTS), "path", document_rows(documents))

    def add_run(self, run: Run) -> None:
        """Adds a line to the ledger."""
        with _store_errors(self.uri):
            self._ensure("runs", RUNS).add(pa.Table.from_pylist([asdict(run)], schema=RUNS))

    def forget(self, paths: Iterable[str]) -> None:
        """Deletes documents rows by path; `sweep` then gives back what only they used."""
        table = self._table("documents")
        if table is not None:
            self._delete(table, "path", sorted(paths))

    def sweep(self) -> None:
        """Deletes pages and chunks that no documents row stands for: replaced, removed, or cut off by a kill."""
        committed = self.contents()
        for name in ("pages", "chunks"):
            table = self._table(name)
            if table is None:
                continue
            with _store_errors(self.uri):
                held = (
                    table.search().select(["doc_id", "recipe"]).to_arrow().group_by(["doc_id", "recipe"]).aggregate([])
                )
            keys = zip(held["doc_id"].to_pylist(), held["recipe"].to_pylist(), strict=True)
            by_recipe: dict[str, list[str]] = {}
            for doc_id, recipe in keys:
                if (doc_id, recipe) not in committed:
                    by_recipe.setdefault(recipe, []).append(doc_id)
            for recipe, doc_ids in by_recipe.items():
                self._delete(table, "doc_id", doc_ids, also=f" AND recipe = {quoted_list([recipe])}")

    def bring_up_to_date(self) -> None:
        """Indexes, compaction and clean-up, at the end of an ingest."""
        with _store_errors(self.uri):
            indexes.bring_up_to_date(
                self._table("chunks"), self._table("pages"), self._table("documents"), self._table("runs")
            )

    # --- searching -----------------------------------------------------------------------------------------------

    def nearest(self, vector: Vector, *, limit: int, where: Filter | None = None) -> list[Candidate]:
        """Chunks by cosine similarity to a vector of shape (dimension,), float32."""
        table = self._table("chunks")
        if table is None:
            return []
        with _store_errors(self.uri):
            query = table.search(vector, vector_column_name="vector").distance_type("cosine")
            query = query.nprobes(indexes.NPROBES).refine_factor(indexes.REFINE_FACTOR)
            rows = self._run(query.select([*CANDIDATE_COLUMNS, "_distance"]), limit, where)
        return [Candidate(row, 1.0 - float(row.pop("_distance"))) for row in rows]

    def matching_chunks(self, query: str, *, limit: int, where: Filter | None = None) -> list[Candidate]:
        """Chunks by BM25 of title, section and text."""
        return self._matching("chunks", "searched_text", CANDIDATE_COLUMNS, query, limit, where)

    def matching_pages(self, query: str, *, limit: int, where: Filter | None = None) -> list[Candidate]:
        """Pages by BM25 of their text."""
        return self._matching("pages", "text", ["doc_id", "recipe", "page"], query, limit, where)

    def _matching(
        self, name: str, column: str, columns: list[str], query: str, limit: int, where: Filter | None
    ) -> list[Candidate]:
        table = self._table(name)
        if table is None or not query.strip():
            return []
        with _store_errors(self.uri):
            if indexes.index_of(table, column) is None:  # killed before the end of the first ingest
                return []
            match: Any = MatchQuery
            search = table.search(match(query, column), query_type="fts")
            rows = self._run(search.select([*columns, "_score"]), limit, where)
        return [Candidate(row, float(row.pop("_score"))) for row in rows]

    def _run(self, query: Any, limit: int, where: Filter | None) -> list[dict[str, Any]]:
        condition = where.condition(self.documents().values()) if where else None
        if condition:
            query = query.where(condition, prefilter=True)
        committed = self.contents()
        rows: list[dict[str, Any]] = query.limit(limit).to_arrow().to_pylist()
        return [row for row in rows if (row["doc_id"], row["recipe"]) in committed]

    # --- tables --------------------------------------------------------------------------------------------------

    def _table(self, name: str) -> Any | None:
        with self._lock, _store_errors(self.uri):
            if name not in self._tables:
                if self.is_local and not Path(self.uri).is_dir():
                    return None
                if name not in self._connect().list_tables(limit=100).tables:
                    return None
                self._tables[name] = self._connect().open_table(name)
            return self._tables[name]

    def _connect(self) -> Any:
        if self._connection is None:
            self._connection = lancedb.connect(self.uri, read_consistency_interval=FRESHNESS)
        return self._connection

    def _ensure(self, name: str, schema: pa.Schema) -> Any:
        table = self._table(name)
        if table is not None:
            return table
        with self._lock:
            self._tables[name] = self._connect().create_table(name, schema=schema, exist_ok=True)
            return self._tables[name]

    def _delete(self, table: Any, column: str, values: Sequence[str], *, also: str = "") -> None:
        with _store_errors(self.uri):
            for start in range(0, len(values), DELETE_BATCH):
                table.delete(f"{column} IN ({quoted_list(values[start : start + DELETE_BATCH])}){also}")


def _upsert(table: Any, key: str, rows: pa.Table) -> None:
    table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)


@contextmanager
def _store_errors(uri: str) -> Iterator[None]:
    """Whatever LanceDB or the file system raises, as a StoreError."""
    try:
        yield
    except KnowledgeBaseError:
        raise
    except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
        raise StoreError(_first_line(error), where=uri, fix=_fix(str(error))) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _fix(message: str) -> str:
    lowered = message.lower()
    if "no space left" in lowered or "disk full" in lowered:
        return "Free some space; nothing that was committed is lost, run the same command again."
    if "permission denied" in lowered or "read-only" in lowered:
        return "Make the folder writable for this user, or set storage.uri to one that is."
    return "See whether storage.uri is right and whole; kb status reads it without changing it."
