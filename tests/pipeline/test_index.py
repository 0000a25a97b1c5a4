"""The vector index: built when a collection is large enough, its recall measured, kept, and mended when it drops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lancedb.index import FTS
from test_store import ingested

from kb.config import StorageSettings
from kb.store import IngestedDocument, Store, indexes, recall

DIMENSION = 96


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that thinks a thousand rows many."""
    monkeypatch.setattr(indexes, "EXACT_ROWS", 1000)
    return Store(StorageSettings(uri=str(tmp_path / "data")))


def document(name: str, chunks: int, seed: int) -> IngestedDocument:
    made = ingested(f"/{name}.pdf", [f"{name} {number}" for number in range(chunks)])
    random = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((12, DIMENSION))
    drawn = topics[random.integers(0, 12, chunks)] + random.standard_normal((chunks, DIMENSION)) / 2
    drawn = drawn.astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return IngestedDocument(made.document, made.pages, made.chunks, made.searched_texts, vectors)


def write(store: Store, *documents: IngestedDocument) -> None:
    with store.writing():
        store.commit(documents, dimension=DIMENSION, space="{}")
        store.sweep()
        store.bring_up_to_date()


def opened_anew(store: Store) -> Store:
    return Store(StorageSettings(uri=str(Path(store.uri).parent)))


def test_a_small_collection_is_searched_exactly(store: Store) -> None:
    write(store, document("small", 50, 1))
    assert (store.statistics().vector_index, store.statistics().vector_recall) == ("exact", None)


def test_a_large_one_has_an_index_whose_recall_is_known(store: Store) -> None:
    write(store, document("large", 1500, 1))
    numbers = store.statistics()
    assert numbers.vector_index == "IvfRq"
    assert numbers.vector_recall is not None
    assert numbers.vector_recall >= 0.95
    assert "finds" in numbers.index_in_words


def test_a_large_collection_can_be_emptied_and_filled_again(store: Store) -> None:
    write(store, document("large", 1500, 1))
    with store.writing():
        store.forget(["/large.pdf"])
        store.sweep()
        store.bring_up_to_date()
    assert store.statistics().chunks == 0
    write(store, document("small", 5, 2))
    assert len(store.nearest(np.ones(DIMENSION, np.float32), limit=10).result()) == 5


def test_passages_that_say_the_same_are_as_good_as_each_other(store: Store) -> None:
    alike = document("alike", 1500, 1)
    assert alike.vectors is not None
    write(store, replace(alike, vectors=np.repeat(alike.vectors[:50], 30, axis=0)))
    state = recall.index_state(store._tables)
    assert state is not None
    assert (state.recall, state.effort) == (1.0, indexes.Effort())


def test_it_is_measured_again_only_when_much_has_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, document("large", 1500, 1))
    measured: list[float] = []
    real = recall.measured_recall

    def counting(chunks: object, truth: recall.Truth, effort: indexes.Effort) -> float:
        measured.append(real(chunks, truth, effort))
        return measured[-1]

    monkeypatch.setattr(recall, "measured_recall", counting)
    write(store, document("a page more", 3, 2))
    assert measured == []
    write(store, document("much more", 900, 3))
    assert len(measured) >= 1


def test_an_index_that_finds_too_little_is_built_anew_and_searched_more_widely(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, document("large", 1500, 1))
    built: list[int] = []
    real = indexes.build_vector_index

    def building(chunks: object) -> None:
        built.append(1)
        real(chunks)

    monkeypatch.setattr(recall, "measured_recall", lambda _, __, effort: 0.99 if effort.nprobes == 80 else 0.4)
    monkeypatch.setattr(indexes, "build_vector_index", building)
    write(store, document("much more", 900, 3))
    assert built == [1]
    assert store.statistics().vector_recall == 0.99
    assert store._effort_of_searches() == indexes.Effort(80, 100)
    assert len(store.nearest(np.ones(DIMENSION, np.float32), limit=10).result()) == 10


def test_an_index_that_needs_what_it_needed_before_is_not_built_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "measured_recall", lambda _, __, effort: 0.99 if effort.nprobes == 80 else 0.4)
    write(store, document("large", 1500, 1))
    monkeypatch.setattr(indexes, "build_vector_index", lambda _: pytest.fail("built anew"))
    write(store, document("much more", 900, 3))
    assert store._effort_of_searches() == indexes.Effort(80, 100)


def test_the_parts_of_many_small_ingests_are_joined(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MOST_PARTS", 3)
    write(store, document("large", 1500, 1))
    chunks = store._tables.get("chunks")
    assert chunks is not None
    parts = []
    for number in range(4):
        write(store, document(f"small {number}", 3, 2 + number))
        parts.append((chunks.index_stats("vector_idx").num_indices, chunks.stats()["fragment_stats"]["num_fragments"]))
    assert parts == [(2, 2), (3, 3), (1, 4), (2, 2)]
    assert len(store.nearest(np.ones(DIMENSION, np.float32), limit=10).result()) == 10


def test_words_are_indexed_anew_where_an_earlier_version_took_them_otherwise(store: Store) -> None:
    write(store, document("small", 50, 1))
    chunks = store._tables.get("chunks")
    assert chunks is not None
    chunks.drop_index(indexes.TEXT_INDEX)
    chunks.create_index("searched_text", config=FTS(remove_stop_words=True))
    write(store, document("one more", 3, 2))
    assert [index.name for index in chunks.list_indices() if index.columns == ["searched_text"]] == [indexes.TEXT_INDEX]
    assert store.matching_chunks("more", limit=5).result()


def test_pages_of_an_earlier_version_are_found_by_their_files_name(store: Store) -> None:
    write(store, document("small", 50, 1), document("large", 600, 2))
    pages = store._tables.get("pages")
    assert pages is not None
    pages.update(values_sql={"searched_text": "text"})
    pages.create_index("searched_text", config=indexes.text_index(), name=indexes.TEXT_INDEX)
    pages.drop_index(indexes.PAGE_INDEX)
    write(store, document("one more", 3, 3))
    for row in pages.search().to_arrow().to_pylist():
        assert row["searched_text"].split()[0] in ("small", "large", "one")
        assert row["text"] in row["searched_text"]
    assert [index.name for index in pages.list_indices() if index.columns == ["searched_text"]] == [indexes.PAGE_INDEX]


def test_an_index_of_an_earlier_version_is_searched_as_it_was_until_it_is_measured(store: Store) -> None:
    write(store, document("large", 1500, 1))
    state = store._tables.get("state")
    assert state is not None
    state.update(values={"value": json.dumps({"recall": 0.99, "rows": 1500, "nprobes": 20})})
    assert opened_anew(store)._effort_of_searches() == indexes.Effort(20, 100)


def test_what_a_later_version_keeps_beside_it_does_no_harm(store: Store) -> None:
    write(store, document("large", 1500, 1))
    state = store._tables.get("state")
    assert state is not None
    state.update(values={"value": json.dumps({"recall": 0.99, "rows": 1500, "nprobes": 40, "colour": "red"})})
    assert opened_anew(store)._effort_of_searches() == indexes.Effort(40, 100)
    assert opened_anew(store).statistics().vector_recall == 0.99


@pytest.mark.parametrize(("asked", "factor"), [(1, 20), (10, 2), (20, 1), (1_000, 1)])
def test_twenty_rows_at_least_are_compared_exactly(asked: int, factor: int) -> None:
    assert indexes.Effort().factor(asked) == factor
