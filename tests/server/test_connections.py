"""The end of a server loses no request: who has a connection is answered, who comes later is refused."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop
from server_running import start_server

from server import connections
from server.connections import HttpServer
from server.protocol import Protocol

REQUEST = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n" + b'{"input":"a"}'


def until_closed(connection: socket.socket) -> bytes:
    return b"".join(iter(partial(connection.recv, 65_536), b""))


def test_a_request_that_crosses_the_end_of_its_connection_is_answered(tmp_path: Path) -> None:
    server = start_server(tmp_path)
    address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    with socket.create_connection(address, timeout=30) as connection:
        server.process.send_signal(signal.SIGTERM)
        while is_open(address):
            pass
        connection.sendall(REQUEST)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: " in answer
    assert server.stop() == 0


def is_open(address: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0


async def answers_ok(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def started(listener: socket.socket, hurry: asyncio.Event) -> HttpServer:
    config = uvicorn.Config(
        answers_ok, http=Protocol, lifespan="off", ws="none", log_level="warning", timeout_keep_alive=600
    )
    server = HttpServer(config, hurry)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup([listener])
    return server


async def shut_down_before_it_is_accepted(listener: socket.socket) -> bytes:
    server = await started(listener, asyncio.Event())
    with socket.create_connection(listener.getsockname(), timeout=30) as connection:  # which the loop does not see yet
        connection.sendall(REQUEST)
        await server.shutdown([listener])
        return await asyncio.to_thread(until_closed, connection)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_request_whose_connection_only_the_kernel_has_made_is_answered(loop_factory: Callable[[], Any]) -> None:
    with socket.socket() as listener, asyncio.Runner(loop_factory=loop_factory) as runner:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        answer = runner.run(shut_down_before_it_is_accepted(listener))
    assert answer.endswith(b"\r\n\r\nok")


async def shut_down_in_a_hurry(listener: socket.socket) -> bytes:
    hurry = asyncio.Event()
    server = await started(listener, hurry)
    with socket.create_connection(listener.getsockname(), timeout=30) as connection:
        hurry.set()
        await asyncio.wait_for(server.shutdown([listener]), 20)
        return await asyncio.to_thread(until_closed, connection)


def test_whoever_asks_twice_does_not_wait_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LINGER_SECONDS", 600.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert asyncio.run(shut_down_in_a_hurry(listener)) == b""
