"""The embedding cache on this machine: a SQLite file, bounded, shared by processes."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kb.embed.cache import id_of, packed, same_space, unpacked
from kb.embed.space import EmbeddingSpace
from kb.types import Vector

__all__ = ["DiskCache"]

logger = logging.getLogger(__name__)

LOOKUP_BATCH = 500
BUSY_SECONDS = 10.0
# Once full, each write drops twice as many as it brings, and at most so many: no other process waits for long.
MOST_DROPPED = 5000
ROW_BYTES = 150  # what a row takes beside its vector, index entries included
# An entry's time of use is written at most once in this many seconds: reading must not become writing.
TOUCH_SECONDS = 3600.0

SCHEMA = (
    # Rows lie in the order of writing, so that dropping the oldest frees whole pages.
    "CREATE TABLE IF NOT EXISTS vectors"
    " (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL, used_at REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS by_use ON vectors (used_at)",
    "CREATE TABLE IF NOT EXISTS spaces (id TEXT PRIMARY KEY, space TEXT NOT NULL)",
)


class DiskCache:
    """A SQLite file in write-ahead mode: many processes read while one writes. Thread-safe."""

    def __init__(self, file: Path, *, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._broken = False

    def space_id(self, space: EmbeddingSpace) -> str:
        """The id of the space, noted down if it is new."""
        with self._lock:
            if self._broken:
                return id_of(space)
            try:
                connection = self._open()
                known = same_space(space, connection.execute("SELECT id, space FROM spaces ORDER BY id"))
                if known is None:
                    known = id_of(space)
                    with connection:
                        connection.execute("INSERT OR IGNORE INTO spaces VALUES (?, ?)", (known, space.to_json()))
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
                return id_of(space)
        return known

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there, each float32 (dimension,)."""
        found: dict[bytes, Vector] = {}
        with self._lock:
            if self._broken:
                return found
            try:
                for start in range(0, len(keys), LOOKUP_BATCH):
                    found |= self._look_up(keys[start : start + LOOKUP_BATCH])
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
        return found

    def _look_up(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        connection = self._open()
        marks = ",".join("?" * len(keys))
        rows = connection.execute(f"SELECT key, vector, used_at FROM vectors WHERE key IN ({marks})", keys).fetchall()
        now = time.time()
        stale = [(now, key) for key, _, used_at in rows if now - used_at > TOUCH_SECONDS]
        if stale:
            with connection:
                connection.executemany("UPDATE vectors SET used_at = ? WHERE key = ?", stale)
        vectors = ((key, unpacked(vector)) for key, vector, _ in rows)
        return {key: vector for key, vector in vectors if vector is not None}

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keeps vectors; those used longest ago go where it gets too large."""
        if not vectors:
            return
        now = time.time()
        rows = [(key, packed(vector), now) for key, vector in vectors.items()]
        with self._lock:
            if self._broken:
                return
            try:
                connection = self._open()
                with connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO vectors (key, vector, used_at) VALUES (?, ?, ?)", rows
                    )
                self._evict(connection, rows)
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._file, timeout=BUSY_SECONDS, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            for statement in SCHEMA:
                self._connection.execute(statement)
        return self._connection

    def _evict(self, connection: sqlite3.Connection, written: Sequence[tuple[bytes, bytes, float]]) -> None:
        """Drops the entries used longest ago, as many as are too many, if the file is larger than it may be."""
        [pages], [page_size] = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
        [free] = connection.execute("PRAGMA freelist_count").fetchone()
        surplus = (pages - free) * page_size - self._max_bytes
        if surplus <= 0:
            return
        too_many = surplus // (len(written[0][1]) + ROW_BYTES)
        drop = min(MOST_DROPPED, max(2 * len(written), too_many))
        with connection:
            connection.execute(
                "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY used_at, id LIMIT ?)", (drop,)
            )

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        logger.warning("The embedding cache %s cannot be used (%s); going on without it.", self._file, error)
