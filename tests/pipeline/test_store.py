"""The LanceDB store: whole documents, idempotent writes, nothing of what was not committed, filters."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from kb.chunk import chunk_id_of
from kb.config import StorageSettings
from kb.errors import StoreError
from kb.store import Filter, IngestedDocument, Store
from kb.types import Chunk, Document, DocumentStatus, Page

DIMENSION = 8


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(StorageSettings(uri=str(tmp_path / "data")))


def vector(text: str) -> np.ndarray:
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))
    drawn = random.standard_normal(DIMENSION).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def ingested(path: str, texts: list[str], *, doc_id: str = "", title: str = "", year: int = 2020) -> IngestedDocument:
    """A document with one chunk a page."""
    identity = doc_id or hashlib.sha256("".join(texts).encode()).hexdigest()
    document = Document(
        path=path,
        doc_id=identity,
        recipe="r1",
        size=1,
        mtime_ns=1,
        status=DocumentStatus.INDEXED,
        reason="",
        title=title,
        author="",
        created=datetime(year, 6, 1, tzinfo=UTC),
        modified=None,
        page_count=len(texts),
        chunk_count=len(texts),
        pages_without_text=(),
        ingested_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    chunks = tuple(
        Chunk(
            chunk_id_of(identity, "r1", index), identity, index, text, index + 1, index + 1, str(index + 1), ("Part",)
        )
        for index, text in enumerate(texts)
    )
    pages = tuple(Page(index + 1, str(index + 1), text) for index, text in enumerate(texts))
    vectors = np.stack([vector(text) for text in texts])
    return IngestedDocument(document, pages, chunks, tuple(f"{title}\n{text}" for text in texts), vectors)


def write(store: Store, *documents: IngestedDocument) -> None:
    with store.writing():
        store.commit(documents, dimension=DIMENSION, space="{}")
        store.sweep()
        store.bring_up_to_date()


def found(store: Store, text: str, where: Filter | None = None) -> list[str]:
    return [str(candidate.row["text"]) for candidate in store.nearest(vector(text), limit=10, where=where).result()]


def test_opening_and_reading_an_absent_store_creates_nothing(store: Store, tmp_path: Path) -> None:
    assert not store.exists
    assert store.documents() == {}
    assert store.nearest(vector("x"), limit=5).result() == []
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_which_a_full_disk_kept_the_folder_alone_is_none_and_can_be_written(store: Store) -> None:
    for name in ("pages", "chunks", "documents"):
        (Path(store.uri) / f"{name}.lance" / "data").mkdir(parents=True)
    assert store.statistics().documents == 0
    write(store, ingested("/a.pdf", ["One page."]))
    assert found(store, "One page.") == ["One page."]


def test_what_was_committed_comes_back_as_it_was(store: Store) -> None:
    item = ingested("/a.pdf", ["alpha", "beta"], title="Letters")
    write(store, item)
    assert store.documents() == {"/a.pdf": item.document}


def test_vector_search_finds_the_nearest_chunk_with_similarity_as_score(store: Store) -> None:
    write(store, ingested("/a.pdf", ["alpha", "beta", "gamma"]))
    best = store.nearest(vector("beta"), limit=3).result()[0]
    assert best.row["text"] == "beta"
    assert best.score == pytest.approx(1.0, abs=1e-4)


def test_full_text_search_finds_words_in_title_and_text(store: Store) -> None:
    write(store, ingested("/a.pdf", ["the margin fell", "costs rose"], title="Annual report"))
    assert [hit.row["text"] for hit in store.matching_chunks("margins", limit=5).result()] == ["the margin fell"]
    assert len(store.matching_chunks("annual", limit=5).result()) == 2
    assert [hit.row["page"] for hit in store.matching_pages("rose", limit=5).result()] == [2, 1]


def test_a_page_is_also_found_by_the_start_of_the_next_one(store: Store) -> None:
    write(store, ingested("/a.pdf", ["the report ends here", "margins fell in spring", "nothing of the kind"]))
    assert {hit.row["page"] for hit in store.matching_pages("margins", limit=5).result()} == {1, 2}
    [document] = store.documents().values()
    assert store.page_text(document, 1) == "the report ends here"


@pytest.mark.parametrize("text", ["第一季度利润下降", "利润"])
def test_full_text_search_knows_words_of_languages_without_spaces(store: Store, text: str) -> None:
    write(store, ingested("/a.pdf", ["第一季度利润下降了", "完全不同的内容"]))
    assert [hit.row["page"] for hit in store.matching_chunks(text, limit=1).result()] == [1]


def test_committing_twice_changes_nothing(store: Store) -> None:
    item = ingested("/a.pdf", ["alpha", "beta"])
    write(store, item)
    write(store, item)
    assert store.statistics().chunks == 2
    assert store.statistics().documents == 1


def test_a_replaced_document_leaves_nothing_of_its_earlier_content(store: Store) -> None:
    write(store, ingested("/a.pdf", ["old words"]))
    write(store, ingested("/a.pdf", ["new words"]))
    assert found(store, "old words") == ["new words"]
    assert store.statistics().chunks == 1


def test_a_document_that_is_read_again_and_gives_less_leaves_nothing_of_the_first_time(store: Store) -> None:
    write(store, ingested("/a.pdf", ["alpha", "beta", "gamma"], doc_id="a"), ingested("/b.pdf", ["delta"]))
    write(store, ingested("/a.pdf", ["alpha", "gamma"], doc_id="a"))
    assert sorted(found(store, "beta")) == ["alpha", "delta", "gamma"]
    assert sorted(row["text"] for row in store.each("pages", ["text"])) == ["alpha", "delta", "gamma"]
    unreadable = replace(ingested("/a.pdf", ["alpha", "gamma"], doc_id="a"), chunks=(), searched_texts=(), vectors=None)
    write(store, unreadable)  # as where the endpoint refuses every passage
    assert found(store, "beta") == ["delta"]


def test_chunks_without_a_documents_row_are_never_found_and_are_swept(store: Store) -> None:
    write(store, ingested("/a.pdf", ["alpha"]))
    lost = ingested("/b.pdf", ["beta"])
    store.commit([lost], dimension=DIMENSION, space="{}")
    store.forget(["/b.pdf"])  # as if killed before the row was written
    assert found(store, "beta") == ["alpha"]
    store.sweep()
    assert store.statistics().chunks == 1


def test_content_under_two_names_is_kept_until_the_last_is_forgotten(store: Store) -> None:
    item = ingested("/a.pdf", ["alpha"])
    write(store, item)
    store.record([replace(item.document, path="/copy.pdf")])
    store.forget(["/a.pdf"])
    store.sweep()
    assert found(store, "alpha") == ["alpha"]
    store.forget(["/copy.pdf"])
    store.sweep()
    assert found(store, "alpha") == []


def test_a_new_recipe_replaces_the_chunks_of_the_old_one(store: Store) -> None:
    item = ingested("/a.pdf", ["alpha", "beta"])
    write(store, item)
    chunks = tuple(replace(chunk, chunk_id="new" + chunk.chunk_id) for chunk in item.chunks[:1])
    again = replace(
        item,
        document=replace(item.document, recipe="r2", chunk_count=1),
        chunks=chunks,
        searched_texts=item.searched_texts[:1],
        vectors=item.vectors[:1] if item.vectors is not None else None,
    )
    write(store, again)
    assert store.statistics().chunks == 1


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(store: Store) -> Store:
    write(
        store,
        ingested("/reports/annual 2020.pdf", ["first one", "first two"], title="Annual Report", year=2020),
        ingested("/reports/annual 2021.pdf", ["second one", "second two"], title="Annual Report", year=2021),
        ingested("/it's.pdf", ["third one"], title="O'Hara; DROP TABLE chunks --", year=2022),
    )
    return store


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(documents=("annual 2020.pdf",)), {"first one", "first two"}),
        (Filter(documents=("/reports/annual 2021.pdf",)), {"second one", "second two"}),
        (Filter(documents=("annual*",)), {"first one", "first two", "second one", "second two"}),
        (Filter(documents=("it's.pdf",)), {"third one"}),
        (Filter(title="o'hara; drop"), {"third one"}),
        (Filter(first_page=2), {"first two", "second two"}),
        (Filter(last_page=1), {"first one", "second one", "third one"}),
        (Filter(after=datetime(2021, 1, 1, tzinfo=UTC)), {"second one", "second two", "third one"}),
        (Filter(before=datetime(2021, 1, 1, tzinfo=UTC), first_page=2), {"first two"}),
        (Filter(documents=("no such.pdf",)), set()),
    ],
    ids=lambda value: repr(value) if isinstance(value, Filter) else "",
)
def test_a_filter_narrows_every_list_alike(library: Store, where: Filter, expected: set[str]) -> None:
    assert set(found(library, "first one", where)) == expected
    words = "first second third one two"
    assert {str(hit.row["text"]) for hit in library.matching_chunks(words, limit=10, where=where).result()} == expected


# --- several at once, and broken ones ---------------------------------------------------------------------------------


def test_one_writer_at_a_time(store: Store, tmp_path: Path) -> None:
    other = Store(StorageSettings(uri=str(tmp_path / "data")))
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with other.writing():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.writing():
        inside.set()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_reader_that_stays_open_sees_what_is_written_later(store: Store, tmp_path: Path) -> None:
    reader = Store(StorageSettings(uri=str(tmp_path / "data")))
    assert not reader.exists
    write(store, ingested("/a.pdf", ["alpha"]))
    assert found(reader, "alpha") == ["alpha"]


def test_a_store_that_cannot_be_written_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file/default"):
        write(Store(StorageSettings(uri=str(tmp_path / "file"))), ingested("/a.pdf", ["alpha"]))
