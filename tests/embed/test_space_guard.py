"""A model that is changed behind its name is noticed before anything of it is handed out or kept."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from kb.config import CacheSettings
from kb.embed import Embedder, open_cache
from kb.embed import embedder as embedding
from kb.errors import EndpointModelError
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, serve

CHANGED = "the model was changed while it was in use"
BUSY = Answer(503, {"message": "starting"})


def once(server: HashServer, answer: Answer) -> None:
    """The next request is answered so; the one after it gets vectors."""
    answers = iter([answer])
    server.before = lambda _: next(answers, None)


def test_a_question_after_a_restart_with_another_model(running: ExitStack, tmp_path: Path) -> None:
    server = HashServer()
    settings = settings_for(running.enter_context(serve(server)))
    cache = open_cache(CacheSettings(), folder=tmp_path)
    with Embedder(settings, cache=cache) as embedder:
        embedder.embed_query("before")
        once(server, BUSY)
        server.seed = "another model"
        with pytest.raises(EndpointModelError, match=CHANGED):
            embedder.embed_query("after")
    server.seed = ""
    with Embedder(settings, cache=open_cache(CacheSettings(), folder=tmp_path)) as later:
        later.embed_query("after")
        assert later.usage.cache_hits == 0


def test_one_of_a_fleet_that_comes_back_with_another_model(running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.embed.route.COOLDOWN_SECONDS", 0.05)
    steady, restarted = HashServer(), HashServer()
    urls = [running.enter_context(serve(server)) for server in (steady, restarted)]
    embedder = running.enter_context(Embedder(settings_for(*urls, batch_size=1, concurrency=1)))
    embedder.embed_documents(["before"])
    once(restarted, BUSY)
    texts = [f"text {number}" for number in range(60)]
    embedder.embed_documents(texts)  # one request of these failed, and was answered by the other endpoint
    restarted.seed = "another model"
    once(restarted, BUSY)
    with pytest.raises(EndpointModelError, match=CHANGED) as caught:
        embedder.embed_documents(texts)
    assert caught.value.where == f"{urls[1]}/v1"


def test_a_restart_that_only_broke_the_connection(running: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a load balancer that moves to another replica: no request fails, but the next one needs a new connection."""
    monkeypatch.setattr(embedding, "SETTLED_SECONDS", 0.0)
    server = HashServer()
    embedder = running.enter_context(Embedder(settings_for(running.enter_context(serve(server)))))
    embedder.embed_documents(["before"])
    server.before = lambda request: replace(server.embeddings(request), headers={"Connection": "close"})
    embedder.embed_documents(["the last one on the old connection"])
    server.seed = "another model"
    with pytest.raises(EndpointModelError, match=CHANGED):
        embedder.embed_documents(["after"])


def test_a_steady_connection_costs_no_more_canaries(running: ExitStack) -> None:
    server = HashServer()
    embedder = running.enter_context(Embedder(settings_for(running.enter_context(serve(server)))))
    for number in range(20):
        embedder.embed_documents([f"text {number}"])
    assert len(server.requests) == 21
