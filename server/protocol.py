"""HTTP/1.1 as uvicorn speaks it, but for what it says to those who do not."""

from __future__ import annotations

import random

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.errors import bad_request

__all__ = ["Protocol"]


class Protocol(HttpToolsProtocol):
    """Answers what is no HTTP with OpenAI's error object, as everything else that is refused."""

    def send_400_response(self, msg: str) -> None:
        """`msg` says what is wrong."""
        body = orjson.dumps(bad_request(msg).body)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        head += f"x-request-id: {random.getrandbits(128):032x}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()
