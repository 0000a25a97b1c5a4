"""Words are indexed while an ingest goes on: little is left for its end, and nothing that is written is in its way."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest
from making import make_pdf, write_config
from test_store import DIMENSION, ingested

from kb import KnowledgeBase, indexing, ingest
from kb.config import StorageSettings
from kb.errors import StoreError
from kb.indexing import indexing_ahead
from kb.report import BusyClock
from kb.store import Store, indexes


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store for which ten passages are many."""
    monkeypatch.setattr(indexing, "LEAST", 10)
    return Store(StorageSettings(uri=str(tmp_path / "data")))


def commit(store: Store, name: str, passages: int) -> int:
    document = ingested(f"/{name}.pdf", [f"{name} says {number}" for number in range(passages)])
    store.commit([document], dimension=DIMENSION, space="{}")
    return passages


def indexed(store: Store, name: str = "chunks") -> int:
    index = indexes.index_of(store._tables.get(name), "searched_text")
    return int(index.num_indexed_rows) if index is not None else 0


def test_what_is_written_is_indexed_once_it_is_much(store: Store) -> None:
    with store.writing():
        with indexing_ahead(store, BusyClock()) as ahead:
            ahead.wrote(commit(store, "apples", 6))
        assert indexed(store) == 0
        with indexing_ahead(store, BusyClock()) as ahead:
            ahead.wrote(commit(store, "pears", 12))
        assert (indexed(store), indexed(store, "pages")) == (18, 18)
        with indexing_ahead(store, BusyClock()) as ahead:  # more than ten, but few beside what is there
            ahead.wrote(commit(store, "plums", 12))
        assert indexed(store) == 18
        store.bring_up_to_date()
    assert indexed(store) == 30
    found = {word: len(store.matching_chunks(word, limit=50).result()) for word in ("apples", "pears", "plums")}
    assert found == {"apples": 6, "pears": 12, "plums": 12}


def test_an_ingest_indexes_before_its_end(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LEAST", 2)
    monkeypatch.setattr(ingest, "COMMIT_CHUNKS", 2)
    at_the_end: list[int] = []
    bring_up_to_date = Store.bring_up_to_date

    def ending(store: Store) -> None:
        at_the_end.append(indexed(store))
        bring_up_to_date(store)

    monkeypatch.setattr(Store, "bring_up_to_date", ending)
    for number in range(4):
        make_pdf(tmp_path / "papers" / f"{number}.pdf", [f"Report {number} about freight"])
    with KnowledgeBase.open(write_config(tmp_path / "kb", endpoint, batch_size=1, concurrency=1)) as knowledge_base:
        assert knowledge_base.ingest(tmp_path / "papers").exit_status == 0
        assert at_the_end[0] >= 2
        assert indexed(knowledge_base.store) == 4


def test_documents_are_written_and_replaced_while_words_are_indexed(store: Store) -> None:
    ending = threading.Event()
    indexed_after: list[int] = []

    def index() -> None:
        while not ending.is_set():
            with suppress(StoreError):  # as an ingest does: its end tries again
                store.index_words()
                indexed_after.append(indexed(store))

    with store.writing():
        commit(store, "first", 12)
        thread = threading.Thread(target=index)
        thread.start()
        for number in range(12):
            commit(store, "first", 12)  # the same rows again, as after a kill
            commit(store, f"other {number}", 12)
        ending.set()
        thread.join()
        store.bring_up_to_date()
    assert max(indexed_after) > 12  # some of it was done meanwhile
    assert indexed(store) == store.chunk_count == 13 * 12
    assert len(store.matching_chunks("first", limit=50).result()) == 12


def test_a_failure_of_it_leaves_the_work_to_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with store.writing():
        with monkeypatch.context() as patch, indexing_ahead(store, BusyClock()) as ahead:
            patch.setattr(indexes, "index_words", full)
            ahead.wrote(commit(store, "apples", 12))
        assert indexed(store) == 0
        store.bring_up_to_date()
    assert indexed(store) == 12
