"""Small embedding servers for tests: real HTTP on loopback, in threads, with vectors that depend only on the text.

`serve(handler)` runs one; `HashServer` behaves well, and its attributes make it behave like a particular server.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "HashServer", "Request", "closed_port", "serve", "vector_of"]

Vector = NDArray[np.float32]


def vector_of(text: str, dimension: int = 16, seed: str = "", length: float = 1.0) -> Vector:
    """The vector of a text: pseudo-random by its hash, of the given L2 norm."""
    digest = hashlib.sha256((seed + text).encode()).digest()
    numbers = np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(dimension)
    vector: Vector = (numbers / np.linalg.norm(numbers) * length).astype(np.float32)
    return vector


@dataclass(frozen=True)
class Request:
    """A request as it came in; `body` is the parsed JSON, None without one."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    connection: int  # tells connections apart

    @property
    def texts(self) -> list[str]:
        given = self.body["input"]
        return [given] if isinstance(given, str) else list(given)


@dataclass(frozen=True)
class Answer:
    """What goes back. `raw` writes to the socket itself; `pause` seconds pass before the first byte."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: Callable[[Any], None] | None = None
    pause: float = 0.0


Respond = Callable[[Request], Answer]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    respond: Respond
    stopping: threading.Event
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        sent = self.rfile.read(length)
        body = json.loads(sent) if sent else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.respond(Request(self.command, self.path, headers, body, id(self)))
        self.stopping.wait(answer.pause)
        if answer.raw is not None:
            answer.raw(self)
            self.close_connection = True
            return
        payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self._write(answer, payload)

    def _write(self, answer: Answer, payload: bytes) -> None:
        head = [f"HTTP/1.1 {answer.status} X"]
        given = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **answer.headers}
        head += [f"{name}: {value}" for name, value in given.items()]
        self.wfile.write("\r\n".join(head).encode() + b"\r\n\r\n" + payload)

    do_GET = do_POST = _handle

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away, which is what many of the tests are about
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def serve(respond: Respond, *, context: Any = None) -> Iterator[str]:
    """The URL (without /v1) at which `respond` answers; `context` makes it speak TLS."""
    stopping = threading.Event()
    handler = type("Handler", (_Handler,), {"respond": staticmethod(respond), "stopping": stopping})
    server = _Server(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    """A port of loopback on which nothing listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class HashServer:
    """An OpenAI-compatible embedding server whose every habit can be set. `requests` are those to /embeddings."""

    model: str = "hash"
    dimension: int = 16
    seed: str = ""
    length: float = 1.0  # L2 norm of the vectors
    key: str | None = None
    lists: bool = True
    knows_base64: bool = True
    most_texts: int | None = None
    shuffled: bool = False
    models_route: bool = True
    max_model_len: int | None = 512
    poison: str | None = None  # a text with this in it is refused with 400
    before: Callable[[Request], Answer | None] = lambda _: None  # answers in its place, unless it gives None
    requests: list[Request] = field(default_factory=list)
    others: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        if request.path != "/v1/embeddings" or request.method != "POST":
            self.others.append(request)
            return self.other(request)
        self.requests.append(request)
        return self.before(request) or self.refusal(request) or self.embeddings(request)

    @property
    def texts(self) -> list[str]:
        """Every text that was sent here."""
        return [text for request in list(self.requests) for text in request.texts]

    def other(self, request: Request) -> Answer:
        if request.path == "/v1/models" and self.models_route:
            card = {"id": self.model, "object": "model", "owned_by": "test"}
            card |= {"max_model_len": self.max_model_len} if self.max_model_len else {}
            return Answer(body={"object": "list", "data": [card]})
        return Answer(404, {"detail": "Not Found"})

    def refusal(self, request: Request) -> Answer | None:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return Answer(401, {"error": {"message": "Incorrect API key provided", "type": "authentication_error"}})
        if request.body.get("model") != self.model:
            message = f"The model {request.body.get('model')!r} does not exist"
            return Answer(404, {"error": {"message": message, "type": "invalid_request_error"}})
        if not self.lists and not isinstance(request.body["input"], str):
            detail = {"loc": ["body", "input"], "msg": "Input should be a valid string", "input": request.body["input"]}
            return Answer(422, {"detail": [detail]})
        if self.most_texts is not None and len(request.texts) > self.most_texts:
            return Answer(413, {"error": {"message": "too much", "type": "invalid_request_error"}})
        if self.poison is not None and any(self.poison in text for text in request.texts):
            return Answer(400, {"error": {"message": "cannot be encoded", "type": "invalid_request_error"}})
        return None

    def embeddings(self, request: Request) -> Answer:
        coded = self.knows_base64 and request.body.get("encoding_format") == "base64"
        data = [self.item(index, text, coded) for index, text in enumerate(request.texts)]
        if self.shuffled:
            data = data[::-1]
        usage = {"prompt_tokens": sum(map(len, request.texts)), "total_tokens": 0}
        return Answer(body={"object": "list", "data": data, "model": self.model, "usage": usage})

    def item(self, index: int, text: str, coded: bool) -> dict[str, Any]:
        vector = vector_of(text, self.dimension, self.seed, self.length)
        embedding = base64.b64encode(vector.astype("<f4").tobytes()).decode() if coded else vector.tolist()
        return {"object": "embedding", "index": index, "embedding": embedding}
