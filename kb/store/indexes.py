"""Indexes of a collection: which there are, when they are built, and when they are brought up to date."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lancedb.index import FTS, BTree, IvfRq

__all__ = [
    "EXACT_ROWS",
    "Effort",
    "bring_up_to_date",
    "build_vector_index",
    "index_ahead",
    "index_of",
]

# Below this exact search is as fast as an index and misses nothing; measured at 384 dimensions (DESIGN, decision 6).
EXACT_ROWS = 20_000
# Bits for each dimension of a vector in the index. With 4 twenty exact comparisons find what takes a hundred with 1,
# which cost more than all the rest of a search; the index is as large as a seventh of the vectors, not a twentieth.
BITS = 4
# The name tells how the words were taken, so that an index of an earlier version is built anew.
TEXT_INDEX = "every_word"
PAGE_INDEX = "every_word_and_names"

# Old versions stay readable for running searches; then their space is given back.
KEEP_VERSIONS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Effort:
    """How widely an index is searched: partitions looked into, and rows at least that are compared exactly."""

    nprobes: int = 20
    compared: int = 20

    def on(self, query: Any, limit: int) -> Any:
        """The query, searching so widely for `limit` rows."""
        return query.nprobes(self.nprobes).refine_factor(self.factor(limit))

    def factor(self, limit: int) -> int:
        """How many times `limit` rows are compared exactly."""
        return max(1, -(-self.compared // limit))


def bring_up_to_date(chunks: Any, pages: Any, documents: Any, runs: Any) -> None:
    """Compacts fragments, adds new rows to the indexes, builds those that are missing and drops old versions.

    The tables side by side: it is the end of every ingest, for which nothing else is left to do meanwhile.
    """
    tables = ((chunks, "chunk_id", TEXT_INDEX), (pages, "page_id", PAGE_INDEX), (documents, "path", ""), (runs, "", ""))
    with _quiet(), ThreadPoolExecutor(len(tables)) as threads:
        for under_way in [threads.submit(_bring_table, *each) for each in tables if each[0] is not None]:
            under_way.result()


def index_ahead(chunks: Any, pages: Any, *, last: bool) -> None:
    """The same for the rows that are there while an ingest goes on, one table after the other: others are busy.

    The last time before the end all that is indexed becomes one fragment, so that nothing has to be moved then.
    """
    with _quiet():
        for table, key, words in ((chunks, "chunk_id", TEXT_INDEX), (pages, "page_id", PAGE_INDEX)):
            index = index_of(table, "searched_text") if table is not None else None
            if table is None or (index is not None and index.name != words):  # of an earlier version: for the end
                continue
            _bring_table(table, key, words, vectors=last)
            if last and index is not None:
                table.optimize(cleanup_older_than=KEEP_VERSIONS)


def _bring_table(table: Any, key: str, words: str, *, vectors: bool = True) -> None:
    """`key` is the column that rows are found by, `words` names the index of its full text; "" where it has none.

    An index is built once the fragments are compacted: later its rows would have to be moved with them.
    """
    table.optimize(cleanup_older_than=KEEP_VERSIONS)
    rows = table.count_rows()
    if rows and key:
        _ensure(table, key, BTree())
    if rows and words:
        _ensure(table, "searched_text", text_index(), name=words)
    if vectors and rows >= EXACT_ROWS and "vector" in table.schema.names and index_of(table, "vector") is None:
        build_vector_index(table)


def build_vector_index(chunks: Any) -> None:
    """Builds the index over the vectors, in place of one that is there."""
    with _quiet():
        chunks.create_index("vector", config=IvfRq(distance_type="cosine", num_bits=BITS), replace=True)


def text_index() -> FTS:
    """Full text for any language: words by Unicode's rules, so that Chinese and Japanese have words too.

    No word is left out: BM25 knows which are frequent, and "after" or "under" may be what a question is about (617
    questions: nDCG@10 0.868; without LanceDB's English stop words 0.861. 200,000 chunks are searched as fast).
    """
    return FTS(base_tokenizer="icu", language="English", stem=True, remove_stop_words=False, ascii_folding=True)


def index_of(table: Any, column: str) -> Any | None:
    """The index over a column, if there is one."""
    return next((index for index in table.list_indices() if index.columns == [column]), None)


def _ensure(table: Any, column: str, config: Any, *, name: str | None = None) -> None:
    index = index_of(table, column)
    if index is not None and name in (None, index.name):
        return
    table.create_index(column, config=config, name=name)
    if index is not None:
        table.drop_index(index.name)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
