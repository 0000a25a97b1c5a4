"""Everything that an endpoint can do wrong: which of the guide's families it is, what it says, and how long it takes.

A case gives the server's behaviour; it ends in the family named, after the requests that the settings imply.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from kb.embed import Embedder
from kb.errors import (
    EndpointAuthenticationError,
    EndpointConnectionError,
    EndpointError,
    EndpointModelError,
    EndpointTimeoutError,
)
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, Request, closed_port, serve, vector_of

RETRIES = 2
TIMEOUT = 0.4
SLACK = 2.5  # seconds for a busy machine, beside what the settings imply


def says(status: int, body: Any = None, **headers: str) -> Callable[[Request], Answer]:
    return lambda _: Answer(status, body if body is not None else {"error": {"message": f"status {status}"}}, headers)


def writes(*pieces: bytes, pause: float = 0.0, reset: bool = False) -> Callable[[Request], Answer]:
    """Writes bytes as they are, with a pause after each; then closes the connection, or resets it."""

    def raw(handler: Any) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            handler.stopping.wait(pause)
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

    return lambda _: Answer(raw=raw)


def embeddings(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Request], Answer]:
    """A good answer, changed."""

    def answer(request: Request) -> Answer:
        data = [{"index": i, "embedding": vector_of(text).tolist()} for i, text in enumerate(request.texts)]
        return Answer(body={"data": change(data), "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    return answer


def with_number(number: float) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda data: [item | {"embedding": [number, *item["embedding"][1:]]} for item in data]


HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


@dataclass(frozen=True)
class Case:
    behaves: Callable[[Request], Answer]
    family: type[EndpointError]
    words: str  # in the message
    requests: int | None = 1  # to /embeddings
    seconds: float = 0.0  # of waiting that the settings imply
    settings: dict[str, Any] = field(default_factory=dict)


TRIES = RETRIES + 1
CASES = {
    "401": Case(says(401), EndpointAuthenticationError, "No key was sent"),
    "401 with a key": Case(
        says(401), EndpointAuthenticationError, "key in embedder.api_key was sent", settings={"api_key": "wrong-key"}
    ),
    "401 with a header": Case(
        says(401),
        EndpointAuthenticationError,
        "embedder.headers.authorization was sent",
        settings={"api_key": "wrong-key", "headers": {"authorization": "Bearer other"}},
    ),
    "403": Case(says(403), EndpointAuthenticationError, "it answers 403"),
    "404 of the model": Case(
        says(404, {"error": {"message": "The model `hash` does not exist."}}),
        EndpointModelError,
        "Check embedder.model",
    ),
    "404 of the path": Case(says(404, {"detail": "Not Found"}), EndpointConnectionError, "no embeddings route there"),
    "404 page": Case(says(404, b"<html>no</html>"), EndpointConnectionError, "no embeddings route there"),
    "405": Case(says(405, {"detail": "Method Not Allowed"}), EndpointConnectionError, "no embeddings route there"),
    "400 for everything": Case(says(400), EndpointModelError, "it answers 400", requests=None),
    "413 for everything": Case(says(413), EndpointModelError, "it answers 413"),
    "422 for everything": Case(says(422), EndpointModelError, "it answers 422", requests=None),
    "424": Case(says(424), EndpointModelError, "it answers 424", requests=None),
    "408": Case(says(408), EndpointTimeoutError, "it answers 408", TRIES),
    "429": Case(says(429), EndpointConnectionError, "overloaded", TRIES),
    "429 with Retry-After": Case(
        says(429, **{"Retry-After": "0.2"}), EndpointConnectionError, "overloaded", TRIES, seconds=0.4
    ),
    "429 with a Retry-After of an hour": Case(
        says(429, **{"Retry-After": "3600"}), EndpointConnectionError, "asks to wait 3600 s"
    ),
    "500": Case(says(500), EndpointConnectionError, "it answers 500: status 500", TRIES),
    "502 page": Case(says(502, HTML), EndpointConnectionError, "502 Bad Gateway", TRIES),
    "503": Case(says(503), EndpointConnectionError, "overloaded or starting", TRIES),
    "504": Case(says(504), EndpointTimeoutError, "it answers 504", TRIES),
    "page in place of JSON": Case(says(200, HTML), EndpointModelError, "no list of embeddings"),
    "cut JSON": Case(says(200, b'{"data": [{"index": 0, "embe'), EndpointModelError, "no list of embeddings"),
    "empty body": Case(says(200, b""), EndpointModelError, "with an empty body"),
    "error with status 200": Case(says(200, {"error": {"message": "no memory left"}}), EndpointModelError, "no memory"),
    "one vector too few": Case(embeddings(lambda data: data[:-1]), EndpointModelError, "3 texts were sent, but 2"),
    "one vector too many": Case(embeddings(lambda data: [*data, data[0]]), EndpointModelError, "but 4 vectors"),
    "NaN": Case(embeddings(with_number(float("nan"))), EndpointModelError, "NaN or infinity"),
    "infinity": Case(embeddings(with_number(float("inf"))), EndpointModelError, "NaN or infinity"),
    "zeros": Case(
        embeddings(lambda data: [item | {"embedding": [0.0] * 16} for item in data]), EndpointModelError, "zeros"
    ),
    "sizes that differ": Case(
        embeddings(lambda data: [data[0] | {"embedding": [1.0, 2.0]}, *data[1:]]), EndpointModelError, "different sizes"
    ),
    "the same index twice": Case(
        embeddings(lambda data: [item | {"index": 1} for item in data]), EndpointModelError, "the indexes of 3 vectors"
    ),
    "token embeddings": Case(
        embeddings(lambda data: [item | {"embedding": [item["embedding"]] * 2} for item in data]),
        EndpointModelError,
        "a vector of shape (2, 16)",
    ),
    "no answer": Case(writes(), EndpointConnectionError, "without an answer", TRIES),
    "reset": Case(writes(reset=True), EndpointConnectionError, "the connection broke", TRIES),
    "closed in the middle": Case(writes(HEAD, b'{"data"'), EndpointConnectionError, "in the middle", TRIES),
    "reset in the middle": Case(
        writes(HEAD, b'{"data"', pause=0.05, reset=True), EndpointConnectionError, "the connection broke", TRIES
    ),
    "no HTTP": Case(writes(b"-ERR unknown command 'POST'\r\n\r\n"), EndpointConnectionError, "does not speak HTTP"),
    "redirect to no URL": Case(says(302, b"", Location="http://[/"), EndpointConnectionError, "without saying where"),
    "redirect to nowhere": Case(says(302, b""), EndpointConnectionError, "without saying where"),
    "slow headers": Case(
        lambda _: Answer(pause=5.0), EndpointTimeoutError, "no complete answer within 0.4 s", TRIES, TRIES * TIMEOUT
    ),
    "headers that drip": Case(
        writes(*[bytes([byte]) for byte in HEAD], pause=0.1),
        EndpointTimeoutError,
        "no complete answer within 0.4 s",
        TRIES,
        TRIES * TIMEOUT,
    ),
    "body that drips": Case(
        writes(HEAD, *[b" "] * 100, pause=0.1),
        EndpointTimeoutError,
        "no complete answer within 0.4 s",
        TRIES,
        TRIES * TIMEOUT,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_first_use_ends_in_the_right_family(name: str, running: ExitStack) -> None:
    case = CASES[name]
    server = HashServer(before=case.behaves, models_route=False)
    url = running.enter_context(serve(server))
    settings = settings_for(url, timeout=TIMEOUT, retries=RETRIES, **case.settings)
    embedder = running.enter_context(Embedder(settings))
    started = time.monotonic()
    with pytest.raises(case.family) as caught:
        embedder.embed_query("a question")
    took = time.monotonic() - started
    message = str(caught.value)
    assert message.startswith(f"[pdf] Failed to setup PDF knowledge base: {case.family.family}: ")
    assert case.words in message
    assert caught.value.fix
    assert case.seconds * 0.95 <= took < case.seconds + SLACK
    if case.requests is not None:
        assert len(server.requests) == case.requests


PASSING = {
    "vectors in another order": embeddings(lambda data: data[::-1]),
    "no index": embeddings(lambda data: [{"embedding": item["embedding"]} for item in data]),
}


@pytest.mark.parametrize("name", PASSING)
def test_odd_but_right_answers_are_understood(name: str, running: ExitStack) -> None:
    url = running.enter_context(serve(HashServer(before=PASSING[name])))
    embedder = running.enter_context(Embedder(settings_for(url)))
    batch = embedder.embed_documents(["one", "two", "three"])
    np.testing.assert_allclose(batch.vectors, [vector_of(text) for text in ("one", "two", "three")], atol=1e-6)


def test_refused_connection(running: ExitStack) -> None:
    embedder = running.enter_context(Embedder(settings_for(f"http://127.0.0.1:{closed_port()}", retries=RETRIES)))
    with pytest.raises(EndpointConnectionError, match="nothing listens on port"):
        embedder.embed_query("a question")
    assert embedder.usage.requests == TRIES


def test_unknown_host_is_named_and_not_asked_again(running: ExitStack) -> None:
    settings = settings_for("http://no-such-host.invalid:8000", retries=0)
    embedder = running.enter_context(Embedder(settings))
    with pytest.raises(EndpointConnectionError, match=r"the host name 'no-such-host\.invalid' is not known"):
        embedder.embed_query("a question")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_does_not_follow_a_redirect(status: int, running: ExitStack) -> None:
    other = HashServer()
    target = running.enter_context(serve(other))
    url = running.enter_context(serve(HashServer(before=says(status, b"", Location=f"{target}/v1/embeddings"))))
    settings = settings_for(url, api_key="sk-secret-key", headers={"X-Team": "secret-team"})
    embedder = running.enter_context(Embedder(settings))
    with pytest.raises(EndpointConnectionError, match="redirects") as caught:
        embedder.embed_query("a question")
    assert f"Set embedder.base_url to {target}/v1" in str(caught.value)
    assert not other.requests
    assert not other.others


# --- failures after a good start: nothing wrong is handed out ------------------------------------------------------


def test_a_changed_dimension_stops_the_run(running: ExitStack) -> None:
    server = HashServer()
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url)))
    embedder.embed_documents(["before"])
    server.dimension = 24
    with pytest.raises(EndpointModelError, match="24 dimensions now, 16 before"):
        embedder.embed_documents(["after"])


def test_another_model_after_a_restart_stops_the_run(running: ExitStack) -> None:
    server = HashServer()
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url)))
    embedder.embed_documents(["before"])
    answers = iter([Answer(503, {"message": "starting"})])
    server.before, server.seed = lambda _: next(answers, None), "another model"
    with pytest.raises(EndpointModelError, match="the model was changed while it was in use"):
        embedder.embed_documents(["after"])


def test_a_bad_text_fails_alone(running: ExitStack) -> None:
    server = HashServer(poison="poison")
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url, batch_size=64)))
    texts = [f"text {number}" for number in range(64)]
    texts[37] = "poison"
    batch = embedder.embed_documents(texts)
    assert set(batch.failures) == {37}
    assert isinstance(batch.failures[37], EndpointModelError)
    assert np.isnan(batch.vectors[37]).all()
    assert np.isfinite(np.delete(batch.vectors, 37, axis=0)).all()
    assert len(server.requests) < 20  # halving, not one by one


@pytest.mark.parametrize("status", [500, 424, 422])
def test_a_text_that_the_server_dies_on_fails_alone(status: int, running: ExitStack) -> None:
    server = HashServer(before=lambda request: Answer(status, {}) if "poison" in request.texts else None)
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url, retries=1)))
    batch = embedder.embed_documents(["one", "poison", "three"])
    assert set(batch.failures) == {1}


def test_a_500_that_is_not_to_be_retried_is_not(running: ExitStack) -> None:
    """As the bundled server says it of texts that do not fit its memory even alone."""
    final = Answer(500, {"error": {"message": "out of memory"}}, {"x-should-retry": "false"})
    server = HashServer(before=lambda request: final if "huge" in request.texts else None)
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url)))
    batch = embedder.embed_documents(["huge"])
    assert set(batch.failures) == {0}
    assert server.texts.count("huge") == 1


def test_a_batch_over_the_limit_is_halved_and_the_limit_remembered(running: ExitStack) -> None:
    server = HashServer(most_texts=10)
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url, concurrency=1)))
    first = embedder.embed_documents([f"text {number}" for number in range(64)])
    assert not first.failures
    sent = len(server.requests)
    embedder.embed_documents([f"other {number}" for number in range(64)])
    assert all(len(request.texts) <= 10 for request in server.requests[sent:])


def test_a_key_that_expires_during_a_run_is_an_authentication_error(running: ExitStack) -> None:
    server = HashServer()
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url)))
    embedder.embed_documents(["before"])
    server.before = says(401)
    with pytest.raises(EndpointAuthenticationError):
        embedder.embed_documents([f"text {number}" for number in range(200)])


def test_retry_after_wins_over_the_backoff(running: ExitStack) -> None:
    answers = iter([Answer(429, {}, {"Retry-After": "0"})])
    server = HashServer(before=lambda _: next(answers, None))
    url = running.enter_context(serve(server))
    embedder = running.enter_context(Embedder(settings_for(url, backoff_factor=30)))
    started = time.monotonic()
    embedder.embed_query("a question")
    assert time.monotonic() - started < SLACK


def test_waits_grow_as_urllib3s() -> None:
    from kb.embed.failures import Failure
    from kb.embed.sender import JITTER, Sender

    sender = Sender(settings_for("http://127.0.0.1:9", backoff_factor=2))
    failure = Failure(EndpointConnectionError("x"))
    waits = [sender._wait_before(retry, failure) for retry in (1, 2, 3, 8)]
    for wait, expected in zip(waits, (2, 4, 8, 60), strict=True):
        assert expected <= wait <= expected * (1 + JITTER)


def test_no_secret_and_no_text_in_messages_and_logs(running: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the server repeats both, as FastAPI repeats the input and some proxies the headers."""

    def repeats(request: Request) -> Answer:
        return Answer(400, json.dumps({"headers": dict(request.headers), "input": request.body}).encode())

    url = running.enter_context(serve(HashServer(before=repeats)))
    settings = settings_for(url, api_key="sk-very-secret", headers={"X-Token": "token-very-secret"})
    embedder = running.enter_context(Embedder(settings))
    caplog.set_level("DEBUG", "kb")
    with pytest.raises(EndpointModelError) as caught:
        embedder.embed_query("the confidential text of a confidential report")
    shown = caplog.text + str(caught.value) + repr(caught.value) + repr(embedder) + repr(settings)
    assert "POST" in caplog.text
    for secret in ("sk-very-secret", "token-very-secret", "confidential report"):
        assert secret not in shown


def test_a_busy_server_is_waited_for_also_while_a_batch_is_divided(running: ExitStack) -> None:
    """A 429 in the middle of the search for a bad text says nothing against the texts of that part."""
    sent = [0]

    def busy_at_times(request: Request) -> Answer | None:
        sent[0] += 1
        return Answer(429, {}) if sent[0] % 3 == 0 else None

    url = running.enter_context(serve(HashServer(poison="poison", before=busy_at_times)))
    embedder = running.enter_context(Embedder(settings_for(url)))
    texts = [f"text {number}" for number in range(32)]
    texts[9] = "poison"
    assert set(embedder.embed_documents(texts).failures) == {9}


def test_half_of_a_surrogate_pair_is_sent_as_a_question_mark(running: ExitStack) -> None:
    """Broken PDFs have them; JSON in UTF-8 cannot."""
    server = HashServer()
    embedder = running.enter_context(Embedder(settings_for(running.enter_context(serve(server)))))
    assert not embedder.embed_documents(["one", "half a pair: \ud83e", "three"]).failures
    embedder.embed_query("half \ud83e")
    assert {"half a pair: ?", "half ?"} <= set(server.texts)
