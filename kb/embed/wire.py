"""HTTP to the endpoint: one pooled client with the endpoint's headers, a deadline over the whole request, and a record.

The client is handed to litellm and used for our own probes, so every byte that is sent goes through here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpcore
import httpx

from kb.config import EmbedderSettings
from kb.errors import ConfigurationError

try:  # three times as fast on vectors; it comes with the server, and is not needed
    from orjson import loads as fast_loads
except ImportError:
    fast_loads = None  # type: ignore[assignment]

__all__ = ["Exchange", "WireClient", "bare_url", "headers_of", "recording", "secrets_of"]

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 30.0  # shorter than the 60-75 s after which load balancers drop an idle connection


@dataclass(slots=True)
class Exchange:
    """What happened on the wire during one request; `failure` is httpx's own, `status` None without answer."""

    timeout: float
    deadline: float = 0.0
    url: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: int = 0
    seconds: float = 0.0
    failure: Exception | None = None
    on_new_connection: bool = False
    with_receipt: bool = False  # whether to keep `answer` here and hand out a response without its "data"
    answer: dict[str, Any] | None = None


_current: ContextVar[Exchange | None] = ContextVar("kb_embed_exchange", default=None)


@contextmanager
def recording(timeout: float, *, with_receipt: bool = False) -> Iterator[Exchange]:
    """The exchange of the request made inside the block; it must be over `timeout` seconds after it was begun."""
    exchange = Exchange(timeout=timeout, with_receipt=with_receipt)
    token = _current.set(exchange)
    try:
        yield exchange
    finally:
        _current.reset(token)


def bare_url(url: str) -> str:
    """A URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, host + port, parts.path, "", ""))


def headers_of(settings: EmbedderSettings) -> dict[str, str]:
    """The headers of every request; an Authorization among them wins over api_key, whatever its case."""
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if key and not any(name.lower() == "authorization" for name in headers):
        headers["Authorization"] = f"Bearer {key}"
    for name, value in headers.items():
        if not (name.isascii() and value.isascii() and value.isprintable() and name.isprintable() and name.strip()):
            key_name = "embedder.api_key" if name == "Authorization" and name not in settings.headers else None
            raise ConfigurationError(
                "holds a character that an HTTP header cannot carry (a line break, or one outside ASCII)",
                where=key_name or f"embedder.headers.{name.strip()!r}",
                fix="Copy the value again, without quotes and line breaks around it.",
            )
    return headers


def secrets_of(settings: EmbedderSettings) -> tuple[str, ...]:
    """Every string that must not be shown: the key and the header values, whole and without their scheme word."""
    values = [value.get_secret_value() for value in settings.headers.values()]
    values += [settings.api_key.get_secret_value()] if settings.api_key else []
    parts = {part for value in values for part in (value, value.rpartition(" ")[2]) if len(part) >= 4}
    return tuple(sorted(parts, key=len, reverse=True))


class WireClient(httpx.Client):
    """An httpx client that never follows a redirect (the key would go along) and that keeps to a deadline."""

    def __init__(
        self, headers: Mapping[str, str], *, timeout: float, connections: int, keep_alive: bool = True
    ) -> None:
        limits = httpx.Limits(
            max_connections=connections + 4,
            max_keepalive_connections=connections + 4 if keep_alive else 0,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        )
        super().__init__(
            headers={"User-Agent": "pdf-knowledge-base", **headers},
            timeout=timeout,
            limits=limits,
            follow_redirects=False,
        )
        self._seconds = timeout
        # httpx has no limit for a whole request: a server that drips a byte a second would never time out.
        self._backend = _DeadlineBackend(httpcore.SyncBackend())
        for transport in (self._transport, *self._mounts.values()):
            if isinstance(transport, httpx.HTTPTransport):
                transport._pool._network_backend = self._backend

    def close(self) -> None:
        """Closes every connection, also those that other threads are opening just now."""
        super().close()
        self._backend.close()

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send, and write down what came of it. Raises what httpx raises."""
        exchange = _current.get() or Exchange(timeout=self._seconds)
        token = _current.set(exchange)
        started = time.monotonic()
        exchange.url, exchange.sent = bare_url(str(request.url)), len(request.content)
        exchange.deadline = started + exchange.timeout
        exchange.status, exchange.failure, exchange.body, exchange.headers = None, None, b"", {}
        exchange.answer = None
        try:
            response = self._send_afresh(request, exchange, options)
            exchange.status, exchange.headers, exchange.body = response.status_code, response.headers, response.content
        except Exception as error:
            exchange.failure = error
            raise
        finally:
            exchange.seconds = time.monotonic() - started
            _current.reset(token)
        return _receipt(response, exchange) if exchange.with_receipt and response.status_code == 200 else response

    def _send_afresh(self, request: httpx.Request, exchange: Exchange, options: dict[str, Any]) -> httpx.Response:
        """Sends once more, at once, where the server closed a kept connection just as it was used again."""
        exchange.on_new_connection = False
        try:
            return super().send(request, **options)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if exchange.on_new_connection:
                raise
        return super().send(request, **options)

    def ask(self, method: str, url: str, *, timeout: float, json: Any = None) -> Exchange:
        """One request of ours, beside litellm. Never raises: the exchange holds the failure."""
        with recording(timeout) as exchange:
            try:
                self.request(method, url, json=json, timeout=timeout)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                exchange.failure = error
        came_back = exchange.status or type(exchange.failure).__name__
        size = len(exchange.body)
        logger.debug(
            "%s %s received=%d B time=%.3f s status=%s", method, bare_url(url), size, exchange.seconds, came_back
        )
        return exchange


def _receipt(response: httpx.Response, exchange: Exchange) -> httpx.Response:
    """The response without the vectors, which stay in the exchange; as it is where it holds none.

    litellm decodes, formats into a log line that nobody reads, and parses a body of most of a megabyte: with these
    copies it reaches half of the rate of a bare loop, without them three quarters (tests/benchmarks/bench_embed.py).
    """
    try:
        answer = _parsed(exchange.body)
    except ValueError:
        return response
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        return response
    exchange.answer = answer
    return httpx.Response(200, json={**answer, "data": []}, request=response.request)


def _parsed(body: bytes) -> Any:
    """The JSON in a body; NaN, which orjson refuses and some servers send, is understood. Raises ValueError."""
    if fast_loads is not None:
        with contextlib.suppress(ValueError):
            return fast_loads(body)
    return json.loads(body)


class _DeadlineStream(httpcore.NetworkStream):
    """A stream on which no read or write goes on past the deadline of the exchange under way."""

    def __init__(self, stream: httpcore.NetworkStream, backend: _DeadlineBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            seconds = _remaining(timeout, httpcore.ConnectTimeout)
        except httpcore.ConnectTimeout:
            self.close()  # nobody else will: the pool knows a connection only once it stands
            raise
        return self._backend.watched(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections whose streams keep to the deadline.

    It closes them too: httpcore's pool closes only those whose connection stood when the pool was closed.
    """

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend
        self._streams: weakref.WeakSet[_DeadlineStream] = weakref.WeakSet()
        self._closed = False
        self._lock = threading.Lock()

    def watched(self, stream: httpcore.NetworkStream) -> _DeadlineStream:
        """The stream, kept to the deadline; closed at once where `close` came before."""
        watched = _DeadlineStream(stream, self)
        with self._lock:
            self._streams.add(watched)
            closed = self._closed
        if closed:
            watched.close()
        return watched

    def close(self) -> None:
        """Closes what is open and whatever is opened from now on."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        seconds = _remaining(timeout, httpcore.ConnectTimeout)
        exchange = _current.get()
        if exchange is not None:
            exchange.on_new_connection = True
        return self.watched(self._backend.connect_tcp(host, port, seconds, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


def _remaining(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    exchange = _current.get()
    if exchange is None or not exchange.deadline:
        return timeout
    seconds = exchange.deadline - time.monotonic()
    if seconds <= 0:
        raise error(f"no complete answer within {exchange.timeout:g} seconds")
    return seconds if timeout is None else min(timeout, seconds)
