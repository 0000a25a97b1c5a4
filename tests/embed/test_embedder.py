"""What the embedder promises whoever calls it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpcore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.embed import Embedder
from kb.embed.batches import batches_of
from kb.embed.wire import WireClient
from kb.errors import ConfigurationError, EndpointConnectionError, EndpointModelError
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, serve, vector_of


def started(running: ExitStack, server: HashServer, **changes: Any) -> Embedder:
    folder = changes.pop("profile_folder", None)
    url = running.enter_context(serve(server))
    return running.enter_context(Embedder(settings_for(url, **changes), profile_folder=folder))


def test_vectors_come_in_the_order_of_the_texts_with_length_one(running: ExitStack) -> None:
    embedder = started(running, HashServer(length=7.0, shuffled=True), batch_size=7)
    texts = [f"text {number} " * (number % 5 + 1) for number in range(100)]
    batch = embedder.embed_documents(texts)
    assert batch.vectors.dtype == np.float32
    assert not batch.failures
    np.testing.assert_allclose(batch.vectors, [vector_of(text) for text in texts], atol=1e-6)


def test_nothing_is_sent_before_the_first_use(running: ExitStack) -> None:
    server = HashServer()
    started(running, server)
    assert not server.requests
    assert not server.others


@pytest.mark.parametrize("takes_lists", [True, False])
@pytest.mark.parametrize("knows_base64", [True, False])
def test_the_form_of_requests_is_found_out(running: ExitStack, takes_lists: bool, knows_base64: bool) -> None:
    server = HashServer(lists=takes_lists, knows_base64=knows_base64)
    embedder = started(running, server)
    batch = embedder.embed_documents(["one", "two", "three"])
    np.testing.assert_allclose(batch.vectors, [vector_of(text) for text in ("one", "two", "three")], atol=1e-6)
    assert embedder.profile.takes_lists is takes_lists
    assert embedder.profile.base64 is knows_base64
    assert isinstance(server.requests[-1].body["input"], list) is takes_lists


def test_a_server_that_refuses_base64_is_asked_for_numbers(running: ExitStack) -> None:
    def picky(request: Any) -> Answer | None:
        return Answer(422, {"detail": "unknown field"}) if "encoding_format" in request.body else None

    embedder = started(running, HashServer(before=picky))
    assert not embedder.embed_documents(["one"]).failures
    assert embedder.profile.takes_lists
    assert not embedder.profile.base64


def test_a_query_has_its_prefix_and_a_passage_is_sent_as_it_is(running: ExitStack) -> None:
    server = HashServer()
    embedder = started(running, server, query_prefix="query: ", document_prefix="passage: ")
    np.testing.assert_allclose(embedder.embed_query("why?"), vector_of("query: why?"), atol=1e-6)
    embedder.embed_documents(["passage: because"])
    assert "passage: because" in server.texts


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, None),
        ({"api_key": "sk-key"}, "Bearer sk-key"),
        ({"api_key": "sk-key", "headers": {"Authorization": "Bearer other"}}, "Bearer other"),
        ({"api_key": "sk-key", "headers": {"authorization": "Basic eA=="}}, "Basic eA=="),
    ],
)
def test_an_authorization_header_wins_over_the_key(
    running: ExitStack, settings: dict[str, Any], sent: str | None
) -> None:
    server = HashServer()
    started(running, server, **settings).embed_query("why?")
    assert {request.headers.get("authorization") for request in server.requests + server.others} == {sent}


def test_custom_headers_go_with_every_request(running: ExitStack) -> None:
    server = HashServer()
    started(running, server, headers={"X-Custom-Header": "value"}).embed_query("why?")
    assert all(request.headers["x-custom-header"] == "value" for request in server.requests + server.others)


def test_a_key_with_a_line_break_is_a_configuration_error(running: ExitStack) -> None:
    embedder = started(running, HashServer(), api_key="sk-key\n")
    with pytest.raises(ConfigurationError, match=r"embedder\.api_key") as caught:
        embedder.embed_query("why?")
    assert "sk-key" not in str(caught.value)


def test_the_same_text_is_sent_once(running: ExitStack) -> None:
    server = HashServer()
    embedder = started(running, server)
    batch = embedder.embed_documents(["same", "other", "same"])
    assert server.texts.count("same") == 1
    np.testing.assert_array_equal(batch.vectors[0], batch.vectors[2])


def test_no_texts_give_no_vectors(running: ExitStack) -> None:
    assert started(running, HashServer()).embed_documents([]).vectors.shape == (0, 16)


def test_several_threads_share_one_embedder(running: ExitStack) -> None:
    server = HashServer()
    embedder = started(running, server, batch_size=5, concurrency=4)
    results: dict[int, Any] = {}

    def work(number: int) -> None:
        results[number] = embedder.embed_documents([f"{number}.{text}" for text in range(40)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, batch in results.items():
        expected = [vector_of(f"{number}.{text}") for text in range(40)]
        np.testing.assert_allclose(batch.vectors, expected, atol=1e-6)


def test_no_more_requests_are_under_way_than_allowed(running: ExitStack) -> None:
    lock, under_way, most = threading.Lock(), [0], [0]

    def counting(request: Any) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.01)
        with lock:
            under_way[0] -= 1

    embedder = started(running, HashServer(before=counting), batch_size=1, concurrency=3)
    embedder.embed_documents([f"text {number}" for number in range(60)])
    assert 1 < most[0] <= 3


def test_a_dead_server_that_comes_back_is_waited_for(running: ExitStack) -> None:
    answers = iter([Answer(503, {}), Answer(503, {})])
    embedder = started(running, HashServer(before=lambda _: next(answers, None)))
    assert embedder.embed_query("why?").shape == (16,)
    assert embedder.usage.retries == 2


def test_closing_ends_the_wait_for_a_retry(running: ExitStack) -> None:
    embedder = started(running, HashServer(before=lambda _: Answer(503, {})), backoff_factor=60)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            embedder.embed_query("why?")
        except EndpointConnectionError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    embedder.close()
    thread.join(5)
    assert failed


def test_debug_logging_shows_each_request(running: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kb.embed")
    started(running, HashServer()).embed_query("why?")
    assert any(message.startswith("GET http://127.0.0.1") and "/v1/models" in message for message in caplog.messages)
    line = caplog.messages[-1]
    for part in (
        "POST http://127.0.0.1",
        "/v1/embeddings",
        "model=hash",
        "texts=1",
        "status=200",
        "attempt=1",
        "time=",
    ):
        assert part in line


# --- what is found out on first use, and remembered ----------------------------------------------------------


def test_the_profile_is_remembered(running: ExitStack, tmp_path: Path) -> None:
    server = HashServer(lists=False)
    url = running.enter_context(serve(server))
    with Embedder(settings_for(url), profile_folder=tmp_path) as first:
        traits = first.profile.traits
    before = len(server.requests), len(server.others)
    with Embedder(settings_for(url), profile_folder=tmp_path) as second:
        assert second.profile.traits == traits
    assert len(server.requests) - before[0] == 3  # the canaries alone
    assert len(server.others) == before[1]


def test_a_remembered_profile_that_is_no_longer_true_is_found_out_anew(running: ExitStack, tmp_path: Path) -> None:
    server = HashServer()
    url = running.enter_context(serve(server))
    with Embedder(settings_for(url), profile_folder=tmp_path) as first:
        assert first.profile.takes_lists
    server.lists = False
    with Embedder(settings_for(url), profile_folder=tmp_path) as second:
        assert not second.embed_documents(["one", "two"]).failures


def test_a_batch_limit_is_found_out_once(running: ExitStack, tmp_path: Path) -> None:
    server = HashServer(most_texts=10)
    url = running.enter_context(serve(server))
    texts = [f"text {number}" for number in range(64)]
    with Embedder(settings_for(url), profile_folder=tmp_path) as first:
        first.embed_documents(texts)
    sent = len(server.requests)
    with Embedder(settings_for(url), profile_folder=tmp_path) as second:
        second.embed_documents(texts)
    assert max(len(request.texts) for request in server.requests[sent:]) <= 10


def test_a_profile_that_cannot_be_read_or_written_is_found_out_each_time(running: ExitStack, tmp_path: Path) -> None:
    url = running.enter_context(serve(HashServer()))
    with Embedder(settings_for(url), profile_folder=tmp_path) as first:
        assert first.profile
    [file] = tmp_path.iterdir()
    file.write_text('{"kind": 1, "nonsense": ', "utf-8")
    with Embedder(settings_for(url), profile_folder=tmp_path) as second:
        assert second.embed_query("why?").shape == (16,)
    in_the_way = tmp_path / "a file"
    in_the_way.touch()
    with Embedder(settings_for(url), profile_folder=in_the_way) as third:
        assert third.embed_query("why?").shape == (16,)


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("", r"lacks /v1.*Set embedder\.base_url to http://127\.0\.0\.1:\d+/v1\."),
        ("/v1/v1", r"Set embedder\.base_url to http://127\.0\.0\.1:\d+/v1\."),
        ("/v2", r"no embeddings route"),
    ],
)
def test_a_wrong_path_in_base_url_is_named(running: ExitStack, path: str, advice: str) -> None:
    url = running.enter_context(serve(HashServer()))
    settings = settings_for(url).model_copy(update={"base_url": url + path})
    embedder = running.enter_context(Embedder(settings))
    with pytest.raises(EndpointConnectionError, match=advice):
        embedder.embed_query("why?")


def test_an_unknown_model_is_answered_with_the_nearest_name(running: ExitStack) -> None:
    embedder = started(running, HashServer(model="all-MiniLM-L6-v2"), model="all-minilm-l6")
    with pytest.raises(EndpointModelError, match=r"served: all-MiniLM-L6-v2\."):
        embedder.embed_query("why?")


def test_a_server_that_lists_another_model_but_answers_is_warned_of(
    running: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    server = HashServer(before=lambda request: HashServer().embeddings(request), model="other")
    started(running, server).embed_query("why?")
    assert "lists no model 'hash'" in caplog.text


# --- batches -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 20), st.integers(1, 2000))
def test_every_text_is_in_one_batch_within_both_limits(counts: list[int], texts: int, tokens: int) -> None:
    batches = batches_of(counts, texts, tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(counts)))
    for batch in batches:
        assert len(batch) <= texts
        assert len(batch) == 1 or sum(counts[place] for place in batch) <= tokens


@pytest.mark.parametrize(
    ("scheme", "meanwhile"),
    [
        pytest.param("http", WireClient.close, id="the client is closed"),
        pytest.param("https", lambda _: time.sleep(0.4), id="the deadline passes before TLS"),
    ],
)
def test_a_connection_is_closed_where_nobody_wants_it_once_it_is_opened(
    monkeypatch: pytest.MonkeyPatch, scheme: str, meanwhile: Callable[[WireClient], None]
) -> None:
    client = WireClient({}, timeout=5, connections=1)
    connect, opened = httpcore.SyncBackend.connect_tcp, []

    def connected(*arguments: Any) -> httpcore.NetworkStream:
        opened.append(connect(*arguments))
        meanwhile(client)
        return opened[-1]

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connected)
    with serve(HashServer()) as url:
        exchange = client.ask("GET", f"{url.replace('http', scheme, 1)}/models", timeout=0.3)
        assert exchange.failure is not None
        assert opened[0].get_extra_info("socket").fileno() == -1
