"""HTTP/1.1 as uvicorn speaks it, but for what it says to those who do not, and to those who never come to an end."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.errors import RequestError, bad_request

__all__ = ["Protocol"]

# The parser keeps whatever comes before the body, of which the limit for bodies knows nothing.
MOST_HEAD_BYTES = 65_536
# Java's HttpClient asks for HTTP/2 by this header with every request, the parser then takes no body, and the answer
# would be that there is none. A server may pass over the offer, so it is made a header that means nothing.
UPGRADE = re.compile(rb"\nupgrade:", re.IGNORECASE)
END_OF_HEAD = re.compile(rb"\n\r?\n")


class Protocol(HttpToolsProtocol):
    """Answers what is no HTTP with OpenAI's error object, as everything else that is refused. The head of a request
    may be so large, and take as long as a connection may lie idle."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.used_at = 0.0  # when it was made, or a request was answered; by the loop's clock
        self._in_head = True
        self._head_bytes = 0
        self._begun = b""  # a header whose line has not come to its end
        self._head_is_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a first request."""
        super().connection_made(transport)
        self.used_at = self.loop.time()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        self._head_is_there()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Another request may come soon."""
        self.used_at = self.loop.time()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Part of a request, or several."""
        if self.transport.is_closing():
            return
        if self._in_head:
            before, data = len(self._begun), self._begun + data
            end = END_OF_HEAD.search(data)
            size = end.start() if end else len(data)
            self._head_bytes += size - before
            if self._head_bytes > MOST_HEAD_BYTES:
                message = f"The head of a request is at most {MOST_HEAD_BYTES} bytes."
                self._refuse(RequestError(431, message), "Request Header Fields Too Large")
                return
            if UPGRADE.search(data, 0, size):
                data = UPGRADE.sub(b"\nx-upgrade:", data[:size]) + data[size:]
            last_line = data.rfind(b"\n") if end is None else -1
            data, self._begun = (data[:last_line], data[last_line:]) if last_line >= 0 else (data, b"")
        super().data_received(data)
        if self._in_head and self._head_bytes and self._head_is_late is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The body comes next."""
        self._in_head = False
        self._head_is_there()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The head of another request may come next."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def send_400_response(self, msg: str) -> None:
        """`msg` says what is wrong."""
        self._refuse(bad_request(msg), "Bad Request")

    def _refuse(self, error: RequestError, reason: str) -> None:
        body = orjson.dumps(error.body)
        head = f"HTTP/1.1 {error.status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        head += f"x-request-id: {random.getrandbits(128):032x}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        if not self.transport.is_closing():
            self._head_is_late = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _head_is_there(self) -> None:
        if self._head_is_late is not None:
            self._head_is_late.cancel()
            self._head_is_late = None
