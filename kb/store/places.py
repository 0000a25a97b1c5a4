"""Where the rows of a table stand, kept in memory while the table stays as it is.

Lists of a hundred candidates ask for document, page and position of rows that lie scattered over the table, and every
column so read costs as much as finding them. These columns are short and repeat themselves: 40 bytes a row hold them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kb.errors import KnowledgeBaseError
from kb.store.failures import store_errors
from kb.store.searching import ROW_ID

__all__ = ["Places", "PlacesByTable", "filled"]

HELD = ("doc_id", "recipe", "position", "page", "last_page", "page_label", "section")
# Beyond it a search reads these columns for what it has found, as it does until they are in memory.
MOST_ROWS = 2_000_000
# Seconds without a change. While an ingest writes, each search would read for the next one to throw away; and the only
# search of a process is faster without.
LEFT_ALONE = 1.0
# Between the parts of a section's path: text has no control characters (kb/extract/clean.py).
BETWEEN = "\x1f"

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class _Column:
    """Values by code: int32, shape (rows,)."""

    codes: NDArray[np.int32]
    values: list[Any] | None  # None where the codes are the values

    def at(self, indices: NDArray[np.intp]) -> list[Any]:
        codes = self.codes[indices].tolist()
        return codes if self.values is None else [self.values[code] for code in codes]


class Places:
    """The held columns of a table at one of its versions, by row id."""

    def __init__(self, row_ids: NDArray[np.uint64], columns: dict[str, _Column]) -> None:
        self.columns = columns
        self._row_ids = row_ids  # ascending

    def fill(self, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> bool:
        """Puts these columns into rows that have their row id; False where one of them is of a later version."""
        asked = np.asarray([row[ROW_ID] for row in rows], np.uint64)
        indices = np.searchsorted(self._row_ids, asked)
        if (indices == len(self._row_ids)).any() or (self._row_ids[indices] != asked).any():
            return False
        for name in names:
            for row, value in zip(rows, self.columns[name].at(indices), strict=True):
                row[name] = value
        return True


async def filled(
    places: Places | None,
    columns: Sequence[str],
    read: Callable[[Sequence[str]], Awaitable[Found]],
    rows: Callable[[Found], Sequence[dict[str, Any]]],
) -> Found:
    """What `read` finds with these columns, of which it is asked only for those that are not in memory."""
    if places is None:
        return await read(columns)
    held = [name for name in columns if name in places.columns]
    found = await read([name for name in columns if name not in held])
    return found if places.fill(rows(found), held) else await read(columns)  # an ingest may have written since


class PlacesByTable:
    """Places of a store's tables, read beside the searches once a table is left alone. Thread-safe."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, Places | None]] = {}  # with the version of the table
        self._seen: dict[str, tuple[int, float]] = {}  # the version that the last search saw, and since when
        self._reading: set[str] = set()

    def of(self, name: str, table: Any, version: int) -> Places | None:
        """The places of the table as it is now, at this version; None while they are not known."""
        with self._lock:
            held_of, held = self._held.get(name, (-1, None))
            if held_of == version:
                return held
            seen, since = self._seen.get(name, (-1, 0.0))
            if seen != version:
                since = time.monotonic()
                self._seen[name] = (version, since)
            if time.monotonic() - since >= LEFT_ALONE and name not in self._reading:
                self._reading.add(name)
                threading.Thread(target=self._read, args=(name, table, version), daemon=True).start()
        return None

    def _read(self, name: str, table: Any, version: int) -> None:
        places = None
        try:
            with store_errors(self._uri):
                if table.count_rows() <= MOST_ROWS:
                    places = _places(table)
                if table.version != version:
                    places = None
        except KnowledgeBaseError:
            pass  # the searches read these columns for themselves, and say what is wrong
        with self._lock:
            self._held[name] = (version, places)
            self._reading.discard(name)


def _places(table: Any) -> Places:
    names = [name for name in table.schema.names if name in HELD]
    # Encoded batch by batch: as text they would take several times the memory for a moment.
    batches = [_encoded(batch) for batch in table.search().select(names).with_row_id(True).to_batches(65_536)]
    if not batches:
        return Places(np.empty(0, np.uint64), {name: _Column(np.empty(0, np.int32), None) for name in names})
    read = pa.Table.from_batches(batches).unify_dictionaries()
    row_ids = read[ROW_ID].to_numpy()
    order = np.argsort(row_ids, kind="stable")
    return Places(row_ids[order], {name: _column(read[name], order, is_path=name == "section") for name in names})


def _encoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    def columns() -> Iterator[pa.Array]:
        for column in batch.columns:
            text = pc.binary_join(column, BETWEEN) if pa.types.is_list(column.type) else column
            yield text.dictionary_encode() if pa.types.is_string(text.type) else text

    return pa.RecordBatch.from_arrays(list(columns()), names=batch.schema.names)


def _column(column: pa.ChunkedArray, order: NDArray[np.intp], *, is_path: bool) -> _Column:
    if not pa.types.is_dictionary(column.type):
        return _Column(column.to_numpy().astype(np.int32)[order], None)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in column.chunks]).astype(np.int32)
    values = column.chunk(0).dictionary.to_pylist()
    return _Column(codes[order], [value.split(BETWEEN) if value else [] for value in values] if is_path else values)
