"""Words are indexed while an ingest goes on: little is left for its end, and nothing that is written is in its way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
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
from kb.store import IngestedDocument, Store, indexes


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


def test_what_is_written_is_indexed_when_little_is_left_to_read(store: Store) -> None:
    with store.writing():
        with indexing_ahead(store, BusyClock()) as ahead:
            ahead.wrote(commit(store, "apples", 12), left=0.9)
        assert indexed(store) == 0
        with indexing_ahead(store, BusyClock()) as ahead:
            ahead.wrote(commit(store, "pears", 12), left=0.2)
        assert (indexed(store), indexed(store, "pages")) == (24, 24)
        with indexing_ahead(store, BusyClock()) as ahead:  # more than ten, but few beside what is there
            ahead.wrote(commit(store, "plums", 12), left=0.2)
        assert indexed(store) == 24
        store.bring_up_to_date()
    assert indexed(store) == 36
    found = {word: len(store.matching_chunks(word, limit=50).result()) for word in ("apples", "pears", "plums")}
    assert found == {"apples": 12, "pears": 12, "plums": 12}


def test_it_is_done_once_before_the_end(store: Store) -> None:
    with store.writing(), indexing_ahead(store, BusyClock()) as ahead:
        assert not ahead.is_due(5, left=0.2)
        assert ahead.is_due(12, left=0.2)
        ahead.wrote(commit(store, "apples", 12), left=0.2)
        assert not ahead.is_due(100, left=0.1)


def test_a_long_ingest_indexes_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "SECONDS", 0.0)
    with store.writing():
        with indexing_ahead(store, BusyClock()) as ahead:
            ahead.wrote(commit(store, "apples", 12), left=0.9)
        assert indexed(store) == 12


def test_the_last_time_leaves_nothing_to_be_moved_at_the_end(store: Store) -> None:
    with store.writing():
        for number in range(4):
            commit(store, f"report {number}", 12)
            store.index_ahead(last=number == 3)
    for name in ("chunks", "pages"):
        table = store._tables.get(name)
        assert table is not None
        assert table.stats()["fragment_stats"]["num_fragments"] == 1
        assert indexed(store, name) == 48


def test_an_index_of_an_earlier_version_is_left_to_the_end(store: Store) -> None:
    with store.writing():
        commit(store, "apples", 12)
        store.bring_up_to_date()
        pages = store._tables.get("pages")
        assert pages is not None
        pages.create_index("searched_text", config=indexes.text_index(), name=indexes.TEXT_INDEX)
        pages.drop_index(indexes.PAGE_INDEX)
        commit(store, "pears", 12)
        store.index_ahead(last=True)
    assert [index.name for index in pages.list_indices() if index.columns == ["searched_text"]] == [indexes.TEXT_INDEX]


def test_the_last_time_builds_the_index_of_vectors(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "EXACT_ROWS", 300)
    with store.writing():
        commit(store, "many", 400)
        store.index_ahead(last=False)
        assert store.statistics().vector_index == "exact"
        store.index_ahead(last=True)
        assert store.statistics().vector_index == "IvfRq"
        commit(store, "more", 50)
        store.bring_up_to_date()
    chunks = store._tables.get("chunks")
    assert chunks is not None
    assert all(index.num_unindexed_rows == 0 for index in chunks.list_indices())
    assert store.statistics().vector_recall is not None


def test_an_ingest_indexes_before_its_end(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LEAST", 2)
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
        assert at_the_end == [3]  # a quarter was left
        assert indexed(knowledge_base.store) == 4


def test_what_little_is_left_goes_into_the_last_commit(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "COMMIT_CHUNKS", 11)
    commits: list[int] = []
    commit_to_store = Store.commit

    def counting(store: Store, documents: Sequence[IngestedDocument], *, dimension: int, space: str) -> None:
        commits.append(len(documents))
        commit_to_store(store, documents, dimension=dimension, space=space)

    monkeypatch.setattr(Store, "commit", counting)
    for number in range(12):
        make_pdf(tmp_path / "papers" / f"{number:02}.pdf", [f"Report {number:02} about freight"])
    with KnowledgeBase.open(write_config(tmp_path / "kb", endpoint, batch_size=1, concurrency=1)) as knowledge_base:
        assert knowledge_base.ingest(tmp_path / "papers").exit_status == 0
    assert commits == [12]


def test_documents_are_written_and_replaced_while_words_are_indexed(store: Store) -> None:
    ending = threading.Event()
    indexed_after: list[int] = []

    def index() -> None:
        while not ending.is_set():
            with suppress(StoreError):  # as an ingest does: its end tries again
                store.index_ahead(last=False)
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
            patch.setattr(indexes, "index_ahead", full)
            ahead.wrote(commit(store, "apples", 12), left=0.2)
        assert indexed(store) == 0
        store.bring_up_to_date()
    assert indexed(store) == 12
