"""The embedding cache: vectors by embedding space and text, on disk, shared by processes, bounded; never pickles."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from kb.types import Vector

__all__ = ["DiskCache", "EmbeddingCache", "key_of"]

logger = logging.getLogger(__name__)

LOOKUP_BATCH = 500
BUSY_SECONDS = 10.0
# Once full, this share of the oldest entries goes, so that eviction is rare.
EVICTED_SHARE = 0.2


class EmbeddingCache(Protocol):
    """Vectors by key. Losing it costs time, never a result: it raises nothing."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there."""

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keeps vectors."""

    def close(self) -> None:
        """Lets go of files and connections."""


def key_of(space: str, text: str) -> bytes:
    """The key of a text in an embedding space, of which `space` says everything that decides a vector."""
    return hashlib.sha256(space.encode() + b"\x00" + text.encode("utf-8", "surrogatepass")).digest()


class DiskCache:
    """A SQLite file in write-ahead mode: many processes read while one writes."""

    def __init__(self, file: Path, *, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._broken = False

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there, each float32 (dimension,)."""
        found: dict[bytes, Vector] = {}
        with self._lock:
            try:
                if self._connection is None and not self._file.exists():
                    return found
                for start in range(0, len(keys), LOOKUP_BATCH):
                    part = keys[start : start + LOOKUP_BATCH]
                    marks = ",".join("?" * len(part))
                    rows = self._open().execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part)
                    found |= {key: np.frombuffer(vector, "<f4") for key, vector in rows}
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
        return found

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keeps vectors; the oldest go where it gets too large."""
        if not vectors or self._broken:
            return
        now = time.time()
        rows = [(key, np.ascontiguousarray(vector, "<f4").tobytes(), now) for key, vector in vectors.items()]
        with self._lock:
            try:
                connection = self._open()
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
                self._evict(connection)
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
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, kept_at REAL NOT NULL)"
                " WITHOUT ROWID"
            )
            self._connection.execute("CREATE INDEX IF NOT EXISTS by_age ON vectors (kept_at)")
        return self._connection

    def _evict(self, connection: sqlite3.Connection) -> None:
        [pages], [page_size] = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
        [free] = connection.execute("PRAGMA freelist_count").fetchone()
        if (pages - free) * page_size <= self._max_bytes:
            return
        with connection:
            connection.execute(
                "DELETE FROM vectors WHERE key IN (SELECT key FROM vectors ORDER BY kept_at LIMIT"
                " (SELECT max(1, CAST(count(*) * ? AS INTEGER)) FROM vectors))",
                (EVICTED_SHARE,),
            )

    def _give_up(self, error: Exception) -> None:
        if not self._broken:
            logger.warning("The embedding cache %s cannot be used: %s. Going on without it.", self._file, error)
        self._broken = True
