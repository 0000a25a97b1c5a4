"""An endpoint that goes wrong in the middle of an ingest: every stored vector is that of its text, before and after."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.errors import KnowledgeBaseError
from tests.embed.servers import Answer, HashServer, Request, serve, vector_of

DOCUMENTS = 8


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    for number in range(DOCUMENTS):
        sentences = [f"Report {number} says in line {line} that margins fell again." for line in range(30)]
        make_pdf(tmp_path / "papers" / f"{number}.pdf", ["\n".join(sentences)])
    return tmp_path / "papers"


def another_dimension(server: HashServer, _: Request) -> None:
    server.dimension = 24


def another_model(server: HashServer, request: Request) -> Answer | None:
    """Restarted with another model: away for a moment, then back under the same name."""
    if server.seed:
        return None
    server.seed = "another model"
    return Answer(503, {})


def changed(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[HashServer, Request], Answer]:
    def answer(server: HashServer, request: Request) -> Answer:
        good = server.embeddings(request).body
        return Answer(body=good | {"data": change(good["data"])})

    return answer


def away(_: HashServer, __: Request) -> Answer:
    return Answer(500, {"error": {"message": "worker died"}})


FAULTS: dict[str, Callable[[HashServer, Request], Answer | None]] = {
    "another dimension": another_dimension,
    "another model": another_model,
    "a vector too few": changed(lambda data: data[:-1]),
    "indexes that make no sense": changed(lambda data: [item | {"index": 7} for item in data]),
    "a page": lambda _, __: Answer(200, b"<html>login</html>"),
    "away": away,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_wrong_is_written(fault: str, papers: Path, tmp_path: Path, running: ExitStack) -> None:
    good_requests = 6
    server = HashServer(knows_base64=False)

    def go_wrong(request: Request) -> Answer | None:
        return FAULTS[fault](server, request) if len(server.requests) > good_requests else None

    server.before = go_wrong
    url = running.enter_context(serve(server))
    config = write_config(tmp_path, f"{url}/v1", model="hash", batch_size=4, concurrency=1)
    plain = {"chunking": {"context": False, "max_tokens": 60}}
    with KnowledgeBase.open(config, **plain) as knowledge_base:
        failed = False
        try:
            failed = knowledge_base.ingest(papers).exit_status != 0
        except KnowledgeBaseError:
            failed = True
        assert failed
        assert_right(knowledge_base)
    server.before, server.dimension, server.seed = lambda _: None, 16, ""
    with KnowledgeBase.open(config, **plain) as knowledge_base:
        report = knowledge_base.ingest(papers, retry_failed=True)
        assert report.exit_status == 0
        assert assert_right(knowledge_base) >= DOCUMENTS * 3


def assert_right(knowledge_base: KnowledgeBase) -> int:
    """The number of passages stored, each with the vector of its text."""
    table = knowledge_base.store._tables.get("chunks")
    rows = table.to_arrow().to_pylist() if table is not None else []
    for row in rows:
        np.testing.assert_allclose(row["vector"], vector_of(row["text"]), atol=1e-6)
    return len(rows)
