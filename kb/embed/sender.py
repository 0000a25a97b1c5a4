"""One request: sent through litellm, checked, logged, counted, and tried again where that can help."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from kb.config import EmbedderSettings
from kb.embed.answers import came_as_base64, items_of, tokens_of, vectors_of
from kb.embed.failures import Failure, Remedy, RequestFailed, bad_answer, failure_of
from kb.embed.pace import Pace
from kb.embed.recognise import root_of
from kb.embed.results import EmbedderUsage
from kb.embed.route import Route
from kb.embed.wire import Exchange, WireClient, headers_of, recording
from kb.types import Vector

__all__ = ["Form", "Sender"]

logger = logging.getLogger(__name__)

# urllib3's rule as the guide gives it: factor x 2^(n-1), at most this many seconds, and a little jitter.
MOST_WAIT = 60.0
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Form:
    """How the endpoint wants its requests, and the size of its vectors once that is known."""

    takes_lists: bool = True
    base64: bool = True
    dimension: int | None = None


class Sender:
    """Thread-safe. Nothing is opened before the first request."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._wire: WireClient | None = None
        self._route: Route | None = None
        self._closing = threading.Event()
        self.pace = Pace(settings.concurrency)
        self.usage = EmbedderUsage()
        self._failing: set[str] = set()  # URLs whose last request failed
        self.recoveries = 0  # how often one of them answered again: it may be another server by now
        self.connections = 0  # opened so far; behind a new one, too, there may be another server

    def send(
        self,
        texts: Sequence[str],
        form: Form,
        *,
        retries: int | None = None,
        base_url: str | None = None,
        urgent: bool = False,
        errors_are_final: bool = False,
    ) -> tuple[Vector, bool]:
        """Raw vectors, float32 (n, d), and whether they came in base64. Raises RequestFailed after the last attempt.

        `urgent`: does not queue behind a bulk of requests. `errors_are_final`: a 500 is not tried again.
        """
        others = 0 if base_url or retries is not None else len(self._settings.base_urls) - 1
        last = (self._settings.retries if retries is None else retries) + others
        for attempt in range(last + 1):
            try:
                with nullcontext() if urgent else self.pace.slot() as begun:
                    answer = self._send_once(texts, form, attempt, base_url)
            except RequestFailed as failed:
                failure = failed.failure
                if failure.overloaded and begun is not None:
                    self.pace.overloaded(begun)
                final = failure.remedy is not Remedy.WAIT or (errors_are_final and failure.status == 500)
                if final or attempt == last or self._closing.is_set():
                    raise _said_how_often(failure, attempt) from None
            else:
                if not urgent:
                    self.pace.answered(len(texts))
                return answer
            self._wait(failure, attempt, others)
        raise AssertionError("the loop returns or raises")

    def ask(self, path: str, body: Any, texts: Sequence[str]) -> Exchange:
        """A POST beside the embeddings, of any endpoint and as patient as they; `texts` are not repeated in messages.

        `path` lies beside /v1. Raises EndpointError.
        """
        urls = self._settings.base_urls
        others = len(urls) - 1
        last = self._settings.retries + others
        for attempt in range(last + 1):
            url = root_of(urls[attempt % len(urls)]) + path
            exchange = self.wire.ask("POST", url, json=body, timeout=self._settings.timeout)
            if exchange.status == 200:
                break
            failure = failure_of(exchange, ValueError("no answer"), self._settings, texts)
            if failure.remedy is not Remedy.WAIT or attempt == last or self._closing.is_set():
                raise _said_how_often(failure, attempt).failure.error
            self._wait(failure, attempt, others)
        return exchange

    def _wait(self, failure: Failure, attempt: int, others: int) -> None:
        """Waits after an attempt, from 0, that failed."""
        self.count(retries=1)
        # Another endpoint of the fleet is asked at once; the Router has put the failing one aside.
        seconds = 0.0 if attempt < others else self._wait_before(attempt - others + 1, failure)
        logger.debug("attempt %d failed: %s Next in %.1f s.", attempt + 1, failure.error, seconds)
        self._closing.wait(seconds)

    def _wait_before(self, retry: int, failure: Failure) -> float:
        if failure.retry_after is not None:
            return failure.retry_after
        seconds: float = min(MOST_WAIT, self._settings.backoff_factor * 2 ** (retry - 1))
        return seconds * (1 + random.uniform(0, JITTER))

    def _send_once(self, texts: Sequence[str], form: Form, attempt: int, base_url: str | None) -> tuple[Vector, bool]:
        route = self._routed()
        with recording(self._settings.timeout, with_receipt=True) as exchange:
            try:
                route.embed(
                    texts,
                    as_list=form.takes_lists,
                    base64=form.base64,
                    dimensions=self._settings.dimensions,
                    base_url=base_url,
                )
            except Exception as error:
                self._note(exchange, len(texts), attempt, 0)
                failure = failure_of(exchange, error, self._settings, texts)
                if failure.remedy is Remedy.WAIT and failure.status != 429:
                    with self._lock:
                        self._failing.add(exchange.url)
                raise RequestFailed(failure) from None
        answer = exchange.answer
        if answer is None:
            raise RequestFailed(failure_of(exchange, ValueError("no embeddings"), self._settings, texts))
        self._note(exchange, len(texts), attempt, tokens_of(answer))
        try:
            items = items_of(answer)
            return vectors_of(items, len(texts), form.dimension), came_as_base64(items)
        except ValueError as error:
            what = bad_answer(str(error), f"POST {exchange.url}", self._settings)
            raise RequestFailed(Failure(what, Remedy.DIVIDE, exchange.status)) from None

    def _note(self, exchange: Exchange, texts: int, attempt: int, tokens: int) -> None:
        self.count(requests=1, texts_sent=texts, tokens=tokens, seconds=exchange.seconds)
        with self._lock:
            self.connections += exchange.on_new_connection
            if exchange.status == 200 and exchange.url in self._failing:
                self._failing.remove(exchange.url)
                self.recoveries += 1
        logger.debug(
            "POST %s model=%s texts=%d sent=%d B received=%d B time=%.3f s status=%s attempt=%d",
            exchange.url,
            self._settings.model,
            texts,
            exchange.sent,
            len(exchange.body),
            exchange.seconds,
            exchange.status or type(exchange.failure).__name__,
            attempt + 1,
        )

    def count(self, **more: float) -> None:
        """Adds to the counters."""
        with self._lock:
            now = {name: getattr(self.usage, name) + value for name, value in more.items()}
            self.usage = replace(self.usage, **now)

    @property
    def wire(self) -> WireClient:
        """The HTTP client, for requests of another kind."""
        with self._lock:
            if self._wire is None:
                connections = self._settings.concurrency
                self._wire = WireClient(
                    headers_of(self._settings), timeout=self._settings.timeout, connections=connections
                )
            return self._wire

    def _routed(self) -> Route:
        wire = self.wire
        with self._lock:
            if self._route is None:
                settings = self._settings
                self._route = Route(settings.base_urls, settings.model, wire, timeout=settings.timeout)
            return self._route

    def close(self) -> None:
        """Wakes waiting retries, which then fail, and closes the connections."""
        self._closing.set()
        if self._route is not None:
            self._route.close()
        if self._wire is not None:
            self._wire.close()


def _said_how_often(failure: Failure, attempt: int) -> RequestFailed:
    """The failure, saying how often it was tried where that was more than once."""
    if attempt:
        error = failure.error
        again = type(error)(f"{error.what.rstrip('.')} ({attempt + 1} attempts)", where=error.where, fix=error.fix)
        failure = replace(failure, error=again)
    return RequestFailed(failure)
