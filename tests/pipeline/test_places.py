"""What is kept in memory of a table gives what the table gives, whatever was written meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_store import ingested, vector, write

from kb.config import SearchSettings, StorageSettings
from kb.search import search
from kb.store import PLACE, Store, places
from kb.types import Hit

NAMES = ("one", "two", "three", "four")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table counts as left alone from the first search on."""
    monkeypatch.setattr(places, "LEFT_ALONE", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(StorageSettings(uri=str(tmp_path / "data")))
    write(store, *(ingested(f"/{name}.pdf", [f"{name} {index} margins" for index in range(6)]) for name in NAMES))
    return store


def asked(store: Store) -> list[Hit]:
    """Hits but for their ranks list by list, in which passages that score the same change places."""
    hits = search([store], "margins of one", embed_query=vector, settings=SearchSettings(limit=30))
    return [replace(hit, channels={}) for hit in hits]


def table_of(store: Store, name: str = "chunks") -> Any:
    table = store._tables.get(name)
    assert table is not None
    return table


def in_memory(store: Store, name: str = "chunks") -> places.Places | None:
    """The places as soon as they are read; None where that does not come about within a second."""
    table = table_of(store, name)
    for _ in range(100):
        if (held := store._places.of(name, table, table.version)) is not None:
            return held
        time.sleep(0.01)
    return None


def test_hits_are_the_same_from_memory(store: Store) -> None:
    first = asked(store)
    assert in_memory(store)
    assert in_memory(store, "pages")
    assert asked(store) == first
    assert first[0].section == "Part"


def test_a_table_just_written_and_the_only_search_of_a_process_are_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LEFT_ALONE", 60.0)
    assert asked(store) == asked(store)
    assert not store._places._reading
    assert not store._places._held


def test_only_what_is_not_in_memory_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(store)
    assert in_memory(store)
    read: list[tuple[str, ...]] = []
    real = places.filled

    def noting(held: Any, columns: Sequence[str], reading: Callable[[Sequence[str]], Any], rows: Any) -> Any:
        def noted(names: Sequence[str]) -> Any:
            read.append(tuple(names))
            return reading(names)

        return real(held, columns, noted, rows)

    monkeypatch.setattr("kb.store.lists.filled", noting)
    store.nearest(vector("x"), limit=5, columns=PLACE).result()
    store.nearest(vector("x"), limit=5).result()
    assert read == [(), ("chunk_id", "text")]


def test_a_table_that_is_too_large_is_read_as_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_ROWS", 10)
    first = asked(store)
    assert in_memory(store) is None
    assert store._places._held["chunks"] == (table_of(store).version, None)  # looked at once, and not again
    assert asked(store) == first


def test_a_table_that_was_emptied_has_nothing(store: Store) -> None:
    asked(store)
    assert in_memory(store)
    store.forget([f"/{name}.pdf" for name in NAMES])
    store.sweep()
    assert asked(store) == []
    assert in_memory(store)
    assert asked(store) == []


def test_rows_written_between_the_look_at_the_table_and_its_search_are_found(store: Store) -> None:
    held = in_memory(store)
    assert held
    write(store, ingested("/five.pdf", ["five margins"]))
    reads: list[tuple[str, ...]] = []
    table = table_of(store)

    async def read(columns: Sequence[str]) -> list[dict[str, Any]]:
        reads.append(tuple(columns))
        rows: list[dict[str, Any]] = table.search().select(list(columns)).with_row_id(True).to_list()
        return rows

    rows = asyncio.run(places.filled(held, PLACE, read, lambda found: found))
    assert len(rows) == 25
    assert reads == [(), PLACE]


steps = st.tuples(st.sampled_from(["write", "forget", "optimize", "ask"]), st.sampled_from(NAMES))


@given(changes=st.lists(steps, max_size=5))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_store_that_stays_open_finds_what_a_new_one_finds(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str]]
) -> None:
    store = Store(StorageSettings(uri=str(tmp_path_factory.mktemp("store"))))
    write(store, ingested("/zero.pdf", ["zero margins"]))
    for number, (change, name) in enumerate(changes):
        if change == "write":
            write(store, ingested(f"/{name}.pdf", [f"{name} {number} {index} margins" for index in range(3)]))
        elif change == "forget":
            store.forget([f"/{name}.pdf"])
            store.sweep()
        elif change == "optimize":
            table_of(store).optimize()
        else:
            in_memory(store)
        fresh = Store(StorageSettings(uri=str(Path(store.uri).parent)))
        assert asked(store) == asked(fresh)
        rows = store.details(_row_ids(fresh), ("doc_id", "text"))
        assert rows == fresh.details(list(rows), ("doc_id", "text"))


def _row_ids(store: Store) -> list[int]:
    return [int(item.row["_rowid"]) for item in store.nearest(np.ones(8, np.float32), limit=50, columns=PLACE).result()]
