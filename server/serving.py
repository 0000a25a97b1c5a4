"""What is being served: the models with their queues, who may ask, and how much may wait."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from server.batching import Batcher
from server.config import ServerConfig
from server.errors import bad_request, model_not_found, overloaded, unauthorized, unavailable
from server.metrics import Metrics

if TYPE_CHECKING:
    from server.loading import Model

__all__ = ["Access", "Served", "Serving"]

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

TOKENIZING_THREADS = 2
# Fewer texts than this are tokenised at once: handing them to a thread costs more than it saves.
INLINE_CHARACTERS = 2_000
DISCONNECT_CHECK_SECONDS = 0.25


class Access(Enum):
    """What a request needs to be let in."""

    OPEN = "nothing"
    LOOK = "a key"
    WORK = "a key, and a server that is loaded, not shutting down and not overloaded"


class Served:
    """A model and its queues, one for each replica."""

    def __init__(self, replicas: Sequence[Model], batchers: Sequence[Batcher], created: int) -> None:
        self.model = replicas[0]
        self.batchers = batchers
        self._devices = [replica.device for replica in replicas]
        self._created = created

    @property
    def batcher(self) -> Batcher:
        """The queue that is free first."""
        return min(self.batchers, key=lambda batcher: batcher.queued_tokens)

    @property
    def queued_tokens(self) -> int:
        """What waits, over all replicas."""
        return sum(batcher.queued_tokens for batcher in self.batchers)

    @property
    def summary(self) -> str:
        """One line for the start of the server."""
        card = self.card
        size = f"{card['dimension']} dimensions" if "dimension" in card else "reranker"
        return f"{card['id']} ({card['dtype']} on {card['device']}, {size}, {card['max_model_len']} tokens)"

    @property
    def card(self) -> dict[str, Any]:
        """The model as /v1/models lists it."""
        return {
            "id": self.model.name,
            "object": "model",
            "created": self._created,
            "owned_by": "sentence-transformers",
            "aliases": list(self.model.names[1:]),
            "kind": self.model.kind,
            "max_model_len": self.model.max_tokens,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": ", ".join(self._devices),
            **self.model.card,
        }


class Serving:
    """Shared by all requests; lives on the event loop, but for loading."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.metrics = Metrics()
        self.draining = False
        self.is_loaded = False
        self._served: dict[str, Served] = {}
        self._under_way = 0
        self._waiting: dict[asyncio.Future[NDArray[np.float32]], Request] = {}
        self._tokenizing = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="tokenize")

    # --- loading and ending --------------------------------------------------------------------------------------

    def load(self) -> None:
        """Loads every model; called in a thread, while probes are answered already."""
        from server.loading import devices, load_model

        for source in self.config.models:
            replicas = [load_model(source, self.config, device) for device in devices(self.config.device)]
            served = Served(replicas, [self._batcher(model) for model in replicas], int(time.time()))
            self._served |= dict.fromkeys(source.names, served)
        self.is_loaded = True

    def _batcher(self, model: Model) -> Batcher:
        return Batcher(
            model.forward, max_batch_tokens=self.config.max_batch_tokens, metrics=self.metrics, name=model.name
        )

    @property
    def is_alive(self) -> bool:
        """Whether every model's thread runs."""
        return not any(batcher.is_stuck for served in self.served_models() for batcher in served.batchers)

    async def drain(self) -> None:
        """Waits until what was accepted is answered, at most `drain_seconds`; new work is refused meanwhile."""
        self.draining = True
        deadline = time.monotonic() + self.config.drain_seconds
        while self._under_way and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    # --- requests ------------------------------------------------------------------------------------------------

    @contextmanager
    def admit(self, authorization: str | None, access: Access) -> Iterator[None]:
        """Lets a request in. Raises RequestError for a wrong key, and while loading, shutting down or overloaded."""
        if access is not Access.OPEN and self.config.api_keys and not self._is_known(authorization):
            raise unauthorized()
        if access is not Access.WORK:
            yield
            return
        if self.draining:
            raise unavailable("The server is shutting down.", 5)
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

    def _is_known(self, authorization: str | None) -> bool:
        scheme, _, key = (authorization or "").partition(" ")
        given = key.strip().encode()
        matches = [hmac.compare_digest(given, known.encode()) for known in self.config.api_keys]
        return scheme.lower() == "bearer" and any(matches)

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

    async def in_thread(self, tokenize: Callable[[Sequence[str]], Result], texts: Sequence[str]) -> Result:
        """What a tokenizer makes of texts, off the event loop where they are long."""
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            return tokenize(texts)
        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, tokenize, texts)

    async def embed(self, served: Served, ids: Sequence[Sequence[int]], request: Request) -> NDArray[np.float32]:
        """Vectors of token ids, in their order. Raises RequestError where they cannot be queued."""
        tokens = sum(map(len, ids))
        if tokens > self.config.max_queued_tokens:
            limit = self.config.max_queued_tokens
            raise bad_request(f"The request has {tokens} tokens; at most {limit} may ever wait here.", status=413)
        if served.queued_tokens + tokens > self.config.max_queued_tokens:
            self.metrics.rejected.labels("queued_tokens").inc()
            raise overloaded(self._retry_after())
        working = served.batcher.submit(ids)
        self._waiting[working] = request
        try:
            return await working
        except asyncio.CancelledError:
            raise unavailable("The client went away.", 1) from None
        finally:
            del self._waiting[working]

    async def watch_clients(self) -> None:
        """Takes the work of clients that went away out of the queues; one watcher for all, so that each costs less."""
        while True:
            await asyncio.sleep(DISCONNECT_CHECK_SECONDS)
            for working, request in list(self._waiting.items()):
                if not working.done() and await request.is_disconnected():
                    working.cancel()

    def _retry_after(self) -> int:
        seconds = max((served.batcher.seconds_of_queue for served in self.served_models()), default=1.0)
        return max(1, min(60, math.ceil(seconds)))

    # --- what is seen from outside -------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """What runs here, and its limits; never a key."""
        config = self.config
        return {
            "server": "pdf-knowledge-base",
            "models": [served.card for served in self.served_models()],
            "max_batch_tokens": config.max_batch_tokens,
            "max_texts": config.max_texts,
            "max_body_bytes": config.max_body_bytes,
            "max_queued_tokens": config.max_queued_tokens,
            "max_requests": config.max_requests,
            "truncate": config.truncate,
        }

    def render_metrics(self) -> bytes:
        """The metrics, with the gauges as they are now."""
        self.metrics.queue_tokens.set(sum(served.queued_tokens for served in self.served_models()))
        return self.metrics.render()

    def note(self, route: str, status: int, seconds: float, request_id: str) -> None:
        """Counts a request, and writes it down at the level of debugging; never its texts."""
        logger.debug("%s %d %.1f ms %s", route, status, 1000 * seconds, request_id)
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)

    def request_id(self, given: str | None) -> str:
        """The client's own request id where it is a plain one, else a new one."""
        return given if given and re.fullmatch(r"[\w.:-]{1,128}", given) else uuid.uuid4().hex

    def log_failure(self, route: str, error: Exception) -> None:
        """Writes down a failure that is the server's own."""
        logger.error("%s failed: %s", route, type(error).__name__, exc_info=error)
