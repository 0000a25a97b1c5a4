"""Whatever is typed as a question or a condition, on a real collection: hits or a clear error, never more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.errors import QueryError

# What a query parser, SQL, a shell or markup would take for more than a word, and anything else there is.
PIECES = st.sampled_from(
    ['"', "'", "'; DROP TABLE chunks; --", "AND", "OR NOT (", "title:bees^5 ~2", "+-&&||!(){}[]^~:\\/", "*", "?", "%s",
     "🐝", "\ud800", "\x00", "\x1f", "\u202e", "什么是", "<script>", "../../etc", "dance", " ", "\t", "--", "_"]
) | st.text(max_size=12)  # fmt: skip


@pytest.fixture(scope="module")
def knowledge_base(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("typed")
    make_pdf(
        folder / "bees.pdf", ["Bees dance to tell where flowers are.", "Their dance says how far."], title="On bees"
    )
    make_pdf(folder / "wasps.pdf", ["Wasps do not dance. They build nests of paper."], title="On wasps")
    with KnowledgeBase.open(write_config(folder, endpoint)) as knowledge_base:
        knowledge_base.ingest(folder)
        yield knowledge_base


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(PIECES, max_size=8), mode=st.sampled_from(["hybrid", "vector", "text"]))
def test_as_a_question(knowledge_base: KnowledgeBase, pieces: list[str], mode: str) -> None:
    query = "".join(pieces)
    if query.replace("\x00", " ").encode("utf-8", "ignore").decode().strip():
        hits = knowledge_base.search(query, mode=mode)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    else:
        with pytest.raises(QueryError, match="the query is empty"):
            knowledge_base.search(query, mode=mode)


@settings(max_examples=100, deadline=None)
@given(
    field=st.sampled_from(["title", "author", "name", "document", "page", "pages", "created", "status", "x"]),
    comparison=st.sampled_from(["=", "!=", "~", ">", "<=", "=="]),
    value=PIECES | st.integers().map(str),
)
def test_as_a_condition(knowledge_base: KnowledgeBase, field: str, comparison: str, value: str) -> None:
    try:
        hits = knowledge_base.search("dance", where=f"{field}{comparison}{value}", mode="text")
    except QueryError:
        return
    every = {(hit.document, hit.page) for hit in knowledge_base.search("dance", k=50, mode="text")}
    assert {(hit.document, hit.page) for hit in hits} <= every
