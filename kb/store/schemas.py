"""The tables of a collection, and how the frozen types become rows and come back.

documents   one row for each path; written last, so that a row means: everything of this document is there
pages       the text of every page, for full-text search in the larger unit and for looking around a hit
chunks      passages with their vectors, and in the schema the embedding space of these
runs        the ledger: one row for each ingest that came to its end
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from kb.store.names import names_of
from kb.types import Chunk, Document, DocumentStatus, Page, Vector

__all__ = [
    "DOCUMENTS",
    "PAGES",
    "RUNS",
    "SPACE_KEY",
    "IngestedDocument",
    "chunk_rows",
    "chunks_schema",
    "document_from_row",
    "document_rows",
    "page_rows",
    "with_vectors",
]

_TIME = pa.timestamp("us", tz="UTC")

DOCUMENTS = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("recipe", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("author", pa.string(), nullable=False),
        pa.field("created", _TIME),
        pa.field("modified", _TIME),
        pa.field("page_count", pa.int32(), nullable=False),
        pa.field("chunk_count", pa.int32(), nullable=False),
        pa.field("pages_without_text", pa.list_(pa.int32()), nullable=False),
        pa.field("ingested_at", _TIME, nullable=False),
    ]
)

PAGES = pa.schema(
    [
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("recipe", pa.string(), nullable=False),
        pa.field("page", pa.int32(), nullable=False),
        pa.field("page_label", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("searched_text", pa.string(), nullable=False),  # names before it; goes on into the next page
    ]
)

# Sentences and sections run over page breaks: with the start of the next page a page is found by what ends there.
# 617 questions: recall@5 0.949 -> 0.960 with 600 characters, 0.955 with 300, no more with 1,000.
GOES_ON = 600

RUNS = pa.schema(
    [
        pa.field("started_at", _TIME, nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("summary", pa.string(), nullable=False),
        pa.field("exit_status", pa.int32(), nullable=False),
        pa.field("report", pa.string(), nullable=False),  # JSON, as `kb ingest --json` prints it
    ]
)

SPACE_KEY = b"embedding_space"


def chunks_schema(dimension: int, space: str) -> pa.Schema:
    """Schema of the chunks table for vectors of this size, in the embedding space that `space` tells."""
    return pa.schema(
        [
            pa.field("chunk_id", pa.string(), nullable=False),
            pa.field("doc_id", pa.string(), nullable=False),
            pa.field("recipe", pa.string(), nullable=False),
            pa.field("position", pa.int32(), nullable=False),
            pa.field("page", pa.int32(), nullable=False),
            pa.field("last_page", pa.int32(), nullable=False),
            pa.field("page_label", pa.string(), nullable=False),
            pa.field("section", pa.list_(pa.string()), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("searched_text", pa.string(), nullable=False),  # title and section before the text
            pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False),
        ],
        metadata={SPACE_KEY: space.encode()},
    )


@dataclass(frozen=True, slots=True)
class IngestedDocument:
    """Everything that is written of one document: vectors float32 (chunks, dimension), searched texts alike."""

    document: Document
    pages: tuple[Page, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    searched_texts: tuple[str, ...] = ()
    vectors: Vector | None = None


def document_rows(documents: Iterable[Document]) -> pa.Table:
    """Rows of the documents table."""
    rows = [
        {name: getattr(document, name) for name in Document.__dataclass_fields__}
        | {"status": str(document.status), "pages_without_text": list(document.pages_without_text)}
        for document in documents
    ]
    return pa.Table.from_pylist(rows, schema=DOCUMENTS)


def document_from_row(row: dict[str, Any]) -> Document:
    """A row of the documents table as its type."""
    values = dict(row)
    values["status"] = DocumentStatus(values["status"])
    values["pages_without_text"] = tuple(values["pages_without_text"])
    return Document(**values)


def page_rows(ingested: Sequence[IngestedDocument]) -> pa.Table:
    """Rows of the pages table: pages with text only."""
    rows = []
    for item in ingested:
        following = {page.number - 1: page.text for page in item.pages}
        names = names_of([item.document])
        rows += [
            {
                "page_id": f"{item.document.doc_id}:{item.document.recipe}:{page.number}",
                "doc_id": item.document.doc_id,
                "recipe": item.document.recipe,
                "page": page.number,
                "page_label": page.label,
                "text": page.text,
                "searched_text": names + f"{page.text}\n{following.get(page.number, '')[:GOES_ON]}".strip(),
            }
            for page in item.pages
            if page.text.strip()
        ]
    return pa.Table.from_pylist(rows, schema=PAGES)


def chunk_rows(ingested: Sequence[IngestedDocument], dimension: int, space: str) -> pa.Table:
    """Rows of the chunks table, built column by column: the vectors go over without becoming Python floats."""
    filled = [item for item in ingested if item.chunks]
    pairs = [(item, chunk) for item in filled for chunk in item.chunks]
    vectors = [item.vectors for item in filled if item.vectors is not None]
    matrix = np.concatenate(vectors) if vectors else np.empty((0, dimension), np.float32)
    if matrix.shape != (len(pairs), dimension):
        raise ValueError(f"{len(pairs)} chunks of dimension {dimension}, but vectors of shape {matrix.shape}")
    columns: dict[str, Any] = {
        name: [getattr(chunk, name) for _, chunk in pairs]
        for name in ("chunk_id", "doc_id", "position", "page", "last_page", "page_label", "text")
    }
    columns["recipe"] = [item.document.recipe for item, _ in pairs]
    columns["section"] = [list(chunk.section) for _, chunk in pairs]
    columns["searched_text"] = [text for item in filled for text in item.searched_texts]
    flat = pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, dimension)
    return pa.table(columns, schema=chunks_schema(dimension, space))


def with_vectors(rows: pa.RecordBatch, vectors: Vector, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of the chunks table with other vectors: float32 (rows, dimension)."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    columns = [column if name == "vector" else rows.column(name) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def now() -> datetime:
    """The time as the tables hold it: UTC, microseconds."""
    return datetime.now(UTC)
