"""The names before a page's text are those of the files that have it, whatever they were before."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kb.store.names import MOST_NAMES, names_of, renamed
from kb.types import Document, DocumentStatus

names = st.lists(st.text("abc_- ", min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=4)
bodies = st.text("XYZ\n ", max_size=40)


def documents(paths: list[str], title: str = "The Title") -> list[Document]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Document(
            path=f"/papers/{path}.pdf", doc_id="d", recipe="r", size=1, mtime_ns=1, status=DocumentStatus.INDEXED,
            reason="", title=title, author="", created=None, modified=None, page_count=1, chunk_count=1,
            pages_without_text=(), ingested_at=now,
        )
        for path in paths
    ]  # fmt: skip


def test_what_stands_between_words_of_a_file_name_is_a_space_and_a_name_stands_once() -> None:
    assert names_of(documents(["a/3M_2018-10K", "b/3M 2018.10K", "c/Annual"])) == "3M 2018 10K\nAnnual\nThe Title\n"


def test_of_many_names_some_are_enough() -> None:
    assert names_of(documents([f"copy {number}" for number in range(500)])).count("copy") == MOST_NAMES


@given(names, names, bodies)
def test_other_names_stand_before_the_same_text(old: list[str], new: list[str], body: str) -> None:
    before, after = documents(old), documents(new)
    assert renamed(names_of(before) + body, before, after) == names_of(after) + body


@given(names, names, bodies)
def test_doing_it_again_after_a_kill_changes_nothing(old: list[str], new: list[str], body: str) -> None:
    before, after = documents(old), documents(new)
    assert renamed(names_of(after) + body, before, after) == names_of(after) + body


@given(names, bodies)
def test_pages_of_versions_that_put_one_name_or_none(paths: list[str], body: str) -> None:
    known = documents(paths)
    assert renamed(names_of(known[:1]) + body, known, known) == names_of(known) + body
    assert renamed(body, known, known) == names_of(known) + body
