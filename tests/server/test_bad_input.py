"""Bad input of every kind: never a 500, never a hang, and the next good request is answered."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_running import MODEL, RunningServer

ROUTES = ("/v1/embeddings", "/tokenize", "/detokenize", "/v1/rerank")
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def still_answers(server: RunningServer) -> Iterator[None]:
    yield
    assert server.embed("a good one").status_code == 200


def connect(server: RunningServer) -> socket.socket:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=30)


def assert_refused(response: httpx.Response) -> None:
    assert 400 <= response.status_code < 500, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert len(response.content) <= 2048


@pytest.mark.parametrize(
    "body",
    [
        b'{"input": NaN}',
        b'{"input": [[1.5]]}',
        b'{"input": "\\ud800"}',
        b'{"input": "a", "dimensions": 1e400}',
        b'{"input": [[99999999999999999999999]]}',
        b'{"input": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"[" * 100_000,
        b'{"input": [true, false]}',
        b'{"input": [null]}',
        b"\x00" * 100,
    ],
    ids=["NaN", "fractions", "lone surrogate", "infinity", "huge id", "nested", "open", "booleans", "null", "zeros"],
)
def test_hand_made_nonsense_is_refused(server: RunningServer, body: bytes) -> None:
    assert_refused(server.client.post("/v1/embeddings", content=body, headers=JSON))


def test_a_string_of_a_million_characters_is_refused(server: RunningServer) -> None:
    assert_refused(server.embed("x" * 1_000_000))


def test_more_than_can_be_tokenised_soon_is_refused(server: RunningServer) -> None:
    assert_refused(server.client.post("/tokenize", json={"input": "word " * 1_000_000}))


def test_a_body_of_100_megabytes_is_refused_before_it_is_read(server: RunningServer) -> None:
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {100_000_000}\r\n\r\n"
    with connect(server) as client:
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_refused_where_it_gets_too_large(server: RunningServer) -> None:
    with connect(server) as client:
        client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        try:
            for _ in range(100):
                client.sendall(block)
        except OSError:
            return  # it hung up on us
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_half_a_request_holds_nobody_up(server: RunningServer) -> None:
    halves = [connect(server) for _ in range(20)]
    for half in halves:
        half.sendall(b'POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"input": "never')
    started = time.monotonic()
    assert server.embed("a whole one").status_code == 200
    assert time.monotonic() - started < 10
    for half in halves:
        half.close()


def test_what_is_no_http_is_answered_with_a_400(server: RunningServer) -> None:
    with connect(server) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"\r\nx-request-id: " in answer
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["type"] == "invalid_request_error"


def test_2000_idle_connections_are_no_load(server: RunningServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4_096)), hard))
    idle = [connect(server) for _ in range(2_000)]
    try:
        assert server.embed("a question").status_code == 200
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "input", "model", "encoding_format", "dimensions", "input_type", "prompt_name", "prompt", "truncate",
    "truncate_prompt_tokens", "truncation_side", "query", "documents", "top_n", "return_documents", "tokens", "user",
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(ROUTES), body=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
def test_fields_of_any_kind_are_answered_or_refused(server: RunningServer, route: str, body: dict[str, Any]) -> None:
    response = server.client.post(route, json=body)
    if response.status_code != 200:
        assert_refused(response)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from([name for name in FIELDS if name not in ("input", "model")]),
    value=VALUES,
    text=st.text(max_size=50),
)
def test_a_good_text_with_one_odd_field_is_answered_or_refused(
    server: RunningServer, field: str, value: Any, text: str
) -> None:
    response = server.client.post("/v1/embeddings", json={"input": text, "model": MODEL, field: value})
    if response.status_code != 200:
        assert_refused(response)
