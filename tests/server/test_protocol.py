"""HTTP itself: offers that are passed over, requests that never end, and bodies that are not worth parsing."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import uvicorn
from server_running import MODEL, RunningServer

from server.errors import RequestError
from server.protocol import Protocol
from server.requests import parse_body


def ask(address: tuple[str, int], *parts: bytes) -> bytes:
    """What comes back until the other side hangs up."""
    with socket.create_connection(address, timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.sendall(part)
            time.sleep(0.05 if len(parts) > 1 else 0)  # so that each is read by itself
        try:
            return b"".join(iter(lambda: client.recv(65_536), b""))
        except ConnectionResetError:
            return b""


def address_of(server: RunningServer) -> tuple[str, int]:
    parts = urlsplit(server.url)
    return parts.hostname or "", parts.port or 80


@pytest.mark.parametrize(
    "cut", [1000, 60, 124, 125, 130, 140], ids=["whole", "before it", "at its line", "at it", "in it", "after it"]
)
def test_an_offer_of_http_2_is_passed_over(server: RunningServer, cut: int) -> None:
    """As Java's HttpClient makes it with every request."""
    body = json.dumps({"input": "a", "model": MODEL}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    head += b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = ask(address_of(server), (head + body)[:cut], (head + body)[cut:])
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b'"embedding"' in answer


@pytest.mark.parametrize("endless", [b"x: " + b"y" * 100_000, b"GET /" + b"a" * 100_000])
def test_a_head_without_end_is_a_431(server: RunningServer, endless: bytes) -> None:
    answer = ask(address_of(server), b"" if endless.startswith(b"GET") else b"GET /livez HTTP/1.1\r\n", endless)
    if answer:  # else it hung up before all was sent
        assert answer.startswith(b"HTTP/1.1 431")
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])["error"]) == {"message", "type", "param", "code"}
    assert server.embed("still there").status_code == 200


def test_large_headers_are_taken_on_every_request_of_a_connection(server: RunningServer) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\nx-large: " + b"y" * 50_000 + b"\r\n"
    answer = ask(address_of(server), one + b"\r\n", one + b"\r\n", one + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 3


@pytest.fixture(scope="module")
def impatient() -> Iterator[tuple[str, int]]:
    """A server that gives a connection 0.3 seconds."""

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Protocol, lifespan="off", ws="none", log_level="error")
    config.timeout_keep_alive = 0.3  # type: ignore[assignment]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("part", [b"", b"\r\n", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /li"])
def test_who_never_comes_to_the_end_of_a_head_is_hung_up_on(impatient: tuple[str, int], part: bytes) -> None:
    started = time.monotonic()
    answer = ask(impatient, part)
    assert (b"204" in answer) == (b"\r\n\r\n" in part)
    assert time.monotonic() - started < 20


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":[' + b"[1]," * 500_000 + b"[1]]}",
        b'{"input":[[' + b"1," * 5_000_000 + b"1]]}",
        b'{"input":[' + b'"",' * 500_000 + b'""]}',
        b'{"documents":[' + b"{}," * 500_000 + b"{}]}",
        b'{"input":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        b'{"input":["' + b'\\"' * 500_000 + b'",' + b"[]," * 500_000 + b"[]]}",
    ],
    ids=["lists", "numbers", "texts", "objects", "nested", "behind quotes"],
)
def test_more_values_than_a_request_may_have_are_refused_before_they_are_parsed(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 MB of them took 14 seconds, in which no probe was answered."""
    monkeypatch.delattr(orjson, "loads")
    with pytest.raises(RequestError, match="At most"):
        parse_body(body, max_texts=2048, max_tokens=4_000_000)


@pytest.mark.parametrize(
    "given",
    [
        ['[{,"\\' * 1_000] * 2_048,
        [{"text": '"' * 2_000} for _ in range(2_048)],
        [[1] * 1_000] * 2_048,
        "[" * 5_000_000 + "," * 5_000_000,
    ],
    ids=["texts full of brackets", "documents full of quotes", "ids", "one text"],
)
def test_as_many_as_it_may_have_are_parsed_whatever_is_in_the_texts(given: Any) -> None:
    body = orjson.dumps({"input": given, "model": MODEL})
    assert len(body) > 1_000_000
    assert parse_body(body, max_texts=2048, max_tokens=4_000_000)["input"] == given
