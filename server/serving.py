"""What all requests share: the models, how much may wait, and who is still there to get an answer."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from server.access import Access, knows
from server.config import ModelSource, ServerConfig
from server.errors import (
    bad_request,
    client_gone,
    model_not_found,
    overloaded,
    shutting_down,
    timed_out,
    unauthorized,
    unavailable,
)
from server.memory import made_to_stay
from server.metrics import Metrics
from server.served import Served
from server.tracing import Traces, open_traces
from server.work import Timings

__all__ = ["Serving"]

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

TOKENIZING_THREADS = 2
# Fewer characters than this are tokenised at once: handing them to a thread costs more than it saves.
INLINE_CHARACTERS = 2_000
WATCH_SECONDS = 0.25
TIMEOUT_HEADER = "x-request-timeout"
TRACEPARENT = r"[\da-f]{2}-([\da-f]{32})-[\da-f]{16}-[\da-f]{2}"  # of W3C Trace Context


class Serving:
    """Lives on the event loop, but for loading."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.metrics = Metrics()
        self.draining = False
        self.is_loaded = False
        self._traces: Traces | None = None
        self._served: dict[str, Served] = {}
        self._under_way = 0
        self._waiting: dict[asyncio.Future[NDArray[np.float32]], tuple[Request, float]] = {}
        self._tokenizing = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="tokenize")

    # --- loading and ending --------------------------------------------------------------------------------------

    def load(self) -> None:
        """Loads every model; called in a thread, while probes are answered already."""
        with made_to_stay():
            self._traces = open_traces()
            for source in self.config.models:
                self._load(source)
        self.is_loaded = True

    def _load(self, source: ModelSource) -> None:
        from server.loading import devices, load_model
        from server.queues import queues

        try:
            replicas = [load_model(source, self.config, device) for device in devices(self.config.device)]
        except Exception as error:
            raise RuntimeError(f"{source.names[0]} could not be loaded from {source.path}: {error}") from error
        alone = len(replicas) == 1
        batchers = [batcher for model in replicas for batcher in queues(model, self.config, self.metrics, alone=alone)]
        self._served |= dict.fromkeys(source.names, Served(replicas, batchers, int(time.time())))

    @property
    def is_alive(self) -> bool:
        """Whether every model's thread works."""
        return all(served.is_alive for served in self.served_models())

    async def drain(self, hurry: asyncio.Event) -> None:
        """Waits until what was accepted is answered, at most `drain_seconds` and no longer once there is a `hurry`; new
        work is refused meanwhile. Whoever waits longer is told."""
        self.draining = True
        deadline = time.monotonic() + self.config.drain_seconds
        while self._under_way and time.monotonic() < deadline and not hurry.is_set():
            await asyncio.sleep(0.02)
        for working in list(self._waiting):
            if not working.done():
                working.set_exception(shutting_down())

    def close(self) -> None:
        """Sends what is left of the traces; called in a thread."""
        if self._traces:
            self._traces.close()

    # --- requests ------------------------------------------------------------------------------------------------

    @contextmanager
    def admit(self, authorization: str | None, access: Access) -> Iterator[None]:
        """Lets a request in. Raises RequestError for a wrong key, and while loading, shutting down or overloaded."""
        if access is not Access.OPEN and self.config.api_keys and not knows(self.config.api_keys, authorization):
            raise unauthorized()
        if access is not Access.WORK:
            yield
            return
        if self.draining:
            raise shutting_down()
        if not self.is_loaded:
            raise unavailable("The model is being loaded.", 5)
        if self._under_way >= self.config.max_requests:
            self.metrics.rejected.labels("requests").inc()
            raise overloaded(self._retry_after())
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def find(self, name: str | None, kind: str = "embedding") -> Served:
        """The model of a name; without one the first of the kind. Raises RequestError."""
        if name is None:
            served_models = self.served_models()
            return next((served for served in served_models if served.model.kind == kind), served_models[0])
        if name not in self._served:
            raise model_not_found(name, list(self._served))
        return self._served[name]

    def served_models(self) -> list[Served]:
        """Every model once, in the order given."""
        return list(dict.fromkeys(self._served.values()))

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """What a function gives that would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, function)

    async def tokenized(
        self, tokenize: Callable[[Sequence[str]], Result], texts: Sequence[str], request: Request
    ) -> Result:
        """What a tokenizer makes of texts, off the event loop where they are long."""
        started = time.perf_counter()
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            result = tokenize(texts)
        else:
            result = await self.in_thread(partial(tokenize, texts))
            if await request.is_disconnected():
                self.metrics.cancelled.labels("tokenize").inc(len(texts))
                raise client_gone()
        timings(request).tokenize += time.perf_counter() - started
        return result

    async def embed(self, served: Served, ids: Sequence[Sequence[int]], request: Request) -> NDArray[np.float32]:
        """What the model makes of token ids, in their order. Raises RequestError where they cannot be queued."""
        tokens = sum(map(len, ids))
        self.metrics.request_tokens.observe(tokens)
        if tokens > self.config.max_queued_tokens:
            limit = self.config.max_queued_tokens
            raise bad_request(
                f"The request has {tokens} tokens; at most {limit} may ever wait here.", parameter="input"
            )
        if served.queued_tokens + tokens > self.config.max_queued_tokens:
            self.metrics.rejected.labels("queued_tokens").inc()
            raise overloaded(self._retry_after())
        deadline = timings(request).arrived + self._seconds_allowed(request)
        working = served.submit(ids, timings(request))
        self._waiting[working] = request, deadline
        try:
            answer = await working
        finally:
            del self._waiting[working]
        if time.monotonic() > deadline:  # between two looks of the watcher: whoever set it has stopped listening
            raise timed_out()
        return answer

    def _seconds_allowed(self, request: Request) -> float:
        """What the client allows, at most what the server does."""
        asked = request.headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self.config.request_seconds
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", asked):
            raise bad_request(f"{TIMEOUT_HEADER} must be a number of seconds.", parameter=TIMEOUT_HEADER)
        return min(float(asked), self.config.request_seconds)

    async def watch(self) -> None:
        """Ends the waiting of clients that went away, and of requests whose time is over, so that what they have in
        the queues is dropped before it costs a forward pass. One watcher for all, so that a request costs nothing."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            for working, (request, deadline) in list(self._waiting.items()):
                if working.done():
                    continue
                is_gone = await request.is_disconnected()
                if working.done():  # in the meantime
                    continue
                if is_gone:
                    working.set_exception(client_gone())
                elif now > deadline:
                    working.set_exception(timed_out())

    def _retry_after(self) -> int:
        seconds = max((served.seconds_of_queue for served in self.served_models()), default=1.0)
        return max(1, min(60, math.ceil(seconds)))

    # --- what is seen from outside -------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """What runs here, and its limits; never a key."""
        config = self.config
        return {
            "server": "pdf-knowledge-base",
            "pid": os.getpid(),
            "models": [served.card for served in self.served_models()],
            "max_batch_tokens": [batcher.budget for served in self.served_models() for batcher in served.batchers],
            "max_texts": config.max_texts,
            "max_body_bytes": config.max_body_bytes,
            "max_queued_tokens": config.max_queued_tokens,
            "max_requests": config.max_requests,
            "request_seconds": config.request_seconds,
            "truncate": config.truncate,
        }

    def render_metrics(self) -> bytes:
        """The metrics, with the gauges as they are now."""
        self.metrics.observe_models(self.served_models())
        return self.metrics.render()

    def note(self, route: str, status: int, seconds: float, request: Request, request_id: str) -> None:
        """Counts a request and writes it down: never its texts, and probes only for those who debug."""
        spent = timings(request)
        self.metrics.requests.labels(route, str(status), spent.lane).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        if spent.forward:
            self.metrics.tokenize_seconds.observe(spent.tokenize)
            self.metrics.queue_seconds.labels(spent.lane).observe(spent.queue)
        is_work = request.method == "POST"
        trace_id = ""
        if self._traces and is_work:
            parts = {f"{name}_ms": value for name, value in spent.milliseconds.items()}
            details: dict[str, str | float] = {"request_id": request_id, "lane": spent.lane, **parts}
            trace_id = self._traces.note(route, status, seconds, request.headers, details)
        elif traced := re.fullmatch(TRACEPARENT, request.headers.get("traceparent", "")):
            trace_id = traced[1]
        if logger.isEnabledFor(logging.INFO):
            line = {"route": route, "status": status, "ms": round(1000 * seconds, 1), "request_id": request_id}
            line |= spent.milliseconds | ({"trace_id": trace_id} if trace_id else {})
            logger.log(logging.INFO if is_work else logging.DEBUG, "%s %d", route, status, extra={"request": line})

    def request_id(self, given: str | None) -> str:
        """The client's own request id where it is a plain one, else a new one."""
        return given if given and re.fullmatch(r"[\w.:-]{1,128}", given) else f"{random.getrandbits(128):032x}"

    def log_failure(self, route: str, error: Exception) -> None:
        """Writes down a failure that is the server's own."""
        logger.error("%s failed: %s", route, type(error).__name__, exc_info=error)


def timings(request: Request) -> Timings:
    """Where a request's time went, kept with the request."""
    found: Timings = request.scope.setdefault("timings", Timings())
    return found
