"""A collection on disk or object storage. The documents row is the commit record: what has none does not exist."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout

from kb.errors import StoreError
from kb.store import indexes
from kb.store.failures import store_errors
from kb.store.filters import quoted_list
from kb.store.lists import StoreLists
from kb.store.names import name_pages, names_of
from kb.store.reading import Run
from kb.store.recall import INDEX_KEY, keep_recall
from kb.store.schemas import (
    DOCUMENTS,
    PAGES,
    RUNS,
    IngestedDocument,
    chunk_rows,
    chunks_schema,
    document_rows,
    page_rows,
    with_vectors,
)
from kb.store.tables import upsert
from kb.types import ContentKey, Document, Vector

__all__ = ["Store"]

logger = logging.getLogger(__name__)

LOCK_FILE = ".writing.lock"


class Store(StoreLists):
    """One collection. Nothing is created before the first write; every error is a StoreError."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer at a time, over all processes; a second one waits. A killed writer lets go by itself.

        On object storage there is no such lock: run one ingest at a time there.
        """
        if not self.is_local:
            yield
            return
        with store_errors(self.uri):
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
        with store_errors(self.uri), ThreadPoolExecutor(1, thread_name_prefix="kb-pages") as threads:
            pages = threads.submit(self._write_pages, ingested)
            chunks = chunk_rows(ingested, dimension, space)
            if chunks.num_rows:
                upsert(self._tables.ensure("chunks", chunks_schema(dimension, space)), "chunk_id", chunks)
            pages.result()
            self._drop_earlier(ingested)
            self.record([item.document for item in ingested])

    def _write_pages(self, ingested: Sequence[IngestedDocument]) -> None:
        pages = page_rows(ingested)
        if pages.num_rows:
            upsert(self._tables.ensure("pages", PAGES), "page_id", pages)
        self._name_pages([item.document for item in ingested if not item.pages and item.document.status.has_text])

    def _drop_earlier(self, ingested: Sequence[IngestedDocument]) -> None:
        """What documents that are read once more had given before, and did not give now.

        Not in one step with what they gave: LanceDB would read the whole table for that.
        """
        read = {item.document.content: item for item in ingested if item.pages}
        documents = self._tables.get("documents")
        if documents is None or not read:
            return
        condition = f"doc_id IN ({quoted_list(sorted(doc_id for doc_id, _ in read))})"
        rows = documents.search().where(condition).select(["doc_id", "recipe"]).to_list()
        committed = {(row["doc_id"], row["recipe"]) for row in rows}  # of all documents only these
        again = [item for content, item in read.items() if content in committed]
        if not again:
            return
        chunk_ids = [chunk.chunk_id for item in again for chunk in item.chunks]
        recipes = quoted_list(sorted({item.document.recipe for item in again}))
        for name, key, given in (
            ("chunks", "chunk_id", chunk_ids),
            ("pages", "page_id", page_rows(again)["page_id"].to_pylist()),
        ):
            others = f" AND recipe IN ({recipes}) AND {key} NOT IN ({quoted_list(given or [''])})"
            self._tables.delete(name, "doc_id", [item.document.doc_id for item in again], also=others)

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
            self._tables.replace("chunks", reader)
            self._tables.delete("state", "key", [INDEX_KEY])
        except StoreError:
            if failed:
                raise failed[0] from None
            raise

    def record(self, documents: Sequence[Document]) -> None:
        """Writes documents rows alone: for files that failed, moved, or are copies of what is there."""
        with store_errors(self.uri):
            if documents:
                upsert(self._tables.ensure("documents", DOCUMENTS), "path", document_rows(documents))

    def add_run(self, run: Run) -> None:
        """Adds a line to the ledger."""
        with store_errors(self.uri):
            self._tables.ensure("runs", RUNS).add(pa.Table.from_pylist([asdict(run)], schema=RUNS))

    def forget(self, paths: Iterable[str]) -> None:
        """Deletes documents rows by path; `sweep` then gives back what only they used."""
        gone = sorted(paths)
        with store_errors(self.uri):
            self._name_pages(gone=gone)
        self._tables.delete("documents", "path", gone)

    def sweep(self) -> None:
        """Deletes pages and chunks that no documents row stands for: replaced, removed, or cut off by a kill."""
        committed = self.contents()
        for name in ("pages", "chunks"):
            table = self._tables.get(name)
            if table is None:
                continue
            with store_errors(self.uri):
                held = (
                    table.search().select(["doc_id", "recipe"]).to_arrow().group_by(["doc_id", "recipe"]).aggregate([])
                )
            keys = zip(held["doc_id"].to_pylist(), held["recipe"].to_pylist(), strict=True)
            by_recipe: dict[str, list[str]] = {}
            for doc_id, recipe in keys:
                if (doc_id, recipe) not in committed:
                    by_recipe.setdefault(recipe, []).append(doc_id)
            for recipe, doc_ids in by_recipe.items():
                self._tables.delete(name, "doc_id", doc_ids, also=f" AND recipe = {quoted_list([recipe])}")

    def index_ahead(self, *, last: bool) -> None:
        """Indexes what is committed so far; `bring_up_to_date` does what is left at the end of an ingest."""
        with store_errors(self.uri):
            indexes.index_ahead(self._tables.get("chunks"), self._tables.get("pages"), last=last)

    def bring_up_to_date(self) -> None:
        """Indexes, compaction and clean-up, at the end of an ingest."""
        with store_errors(self.uri):
            self._name_pages_of_an_earlier_version()
            indexes.bring_up_to_date(
                self._tables.get("chunks"),
                self._tables.get("pages"),
                self._tables.get("documents"),
                self._tables.get("runs"),
            )
            keep_recall(self._tables)

    def _name_pages(self, recorded: Sequence[Document] = (), *, gone: Sequence[str] = ()) -> None:
        """Pages of content that is there, and has other file names once these documents are recorded, or gone."""
        pages = self._tables.get("pages")
        if pages is None or not (recorded or gone):
            return
        known, contents = self.documents(), self.contents()
        touched = {*gone, *(document.path for document in recorded)}
        added: dict[ContentKey, list[Document]] = {known[path].content: [] for path in touched if path in known}
        for document in recorded:
            added.setdefault(document.content, []).append(document)
        changes = {}
        for content, documents in added.items():
            before = contents.get(content, [])
            others = [document for document in before if document.path not in touched]
            after = sorted([*others, *documents], key=lambda document: document.path)
            if before and after and names_of(before) != names_of(after):
                changes[content] = (before, after)
        name_pages(pages, changes)

    def _name_pages_of_an_earlier_version(self) -> None:
        """Their index tells them."""
        pages = self._tables.get("pages")
        index = indexes.index_of(pages, "searched_text") if pages is not None else None
        if index is not None and index.name != indexes.PAGE_INDEX:
            name_pages(pages, {content: (documents, documents) for content, documents in self.contents().items()})
