"""The LanceDB tables of one collection: opened when first needed, created at the first write."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa

from kb.store.failures import store_errors
from kb.store.filters import quoted_list

__all__ = ["Tables", "upsert"]

DELETE_BATCH = 500
# How soon a reader that stays open sees what another process wrote.
FRESHNESS = timedelta(seconds=1)


class Tables:
    """Tables by name. Thread-safe."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._lock = threading.RLock()
        self._connection: Any | None = None
        self._open: dict[str, Any] = {}

    @property
    def are_local(self) -> bool:
        """Whether they lie in a folder, not on object storage."""
        return "://" not in self.uri

    def get(self, name: str) -> Any | None:
        """A table, None where it was never written."""
        with self._lock, store_errors(self.uri):
            if name not in self._open:
                if self.are_local and not Path(self.uri).is_dir():
                    return None
                if name not in self._connect().list_tables(limit=100).tables:
                    return None
                try:
                    self._open[name] = self._connect().open_table(name)
                except ValueError as error:
                    if "was not found" not in str(error):
                        raise
                    return None  # a disk that was full has its folder, and nothing of it
            return self._open[name]

    def ensure(self, name: str, schema: pa.Schema) -> Any:
        """A table, created where it is not there yet."""
        table = self.get(name)
        if table is not None:
            # A table of an earlier version gets what it lacks; its rows are replaced, for their recipe is an old one.
            missing = [field.name for field in schema if field.name not in table.schema.names]
            if missing:
                table.add_columns(dict.fromkeys(missing, "''"))
            return table
        with self._lock:
            self._open[name] = self._connect().create_table(name, schema=schema, exist_ok=True)
            return self._open[name]

    def replace(self, name: str, rows: pa.RecordBatchReader) -> None:
        """Puts other rows, and their schema, in place of all, in one step."""
        with store_errors(self.uri):  # without the lock: LanceDB asks for the rows in a thread of its own
            self._open[name] = self._connect().create_table(name, data=rows, mode="overwrite")

    def delete(self, name: str, column: str, values: Sequence[str], *, also: str = "") -> None:
        """Deletes the rows with one of these values."""
        table = self.get(name)
        if table is None:
            return
        with store_errors(self.uri):
            for start in range(0, len(values), DELETE_BATCH):
                table.delete(f"{column} IN ({quoted_list(values[start : start + DELETE_BATCH])}){also}")

    def _connect(self) -> Any:
        if self._connection is None:
            self._connection = lancedb.connect(self.uri, read_consistency_interval=FRESHNESS)
        return self._connection


def upsert(table: Any, key: str, rows: pa.Table) -> None:
    """Writes rows by their key; doing it twice changes nothing."""
    table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)
