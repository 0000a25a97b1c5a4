"""Texts to vectors by the user's endpoint: batched, concurrent, retried where that can help, cached, checked."""

from __future__ import annotations

import base64
import binascii
import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from kb.config import CacheSettings, EmbedderSettings
from kb.embed.cache import DiskCache, EmbeddingCache, key_of
from kb.embed.failures import Failure, failure_of, not_embeddings
from kb.embed.probe import EndpointProfile, RequestFailed, probe
from kb.embed.redis_cache import RedisCache
from kb.embed.route import Route, data_of
from kb.embed.space import EmbeddingSpace
from kb.embed.tokens import TokenCounter
from kb.embed.wire import Exchange, WireClient, bare_url, headers_of, recording
from kb.errors import EndpointModelError
from kb.types import Vector

__all__ = ["Embedder", "EmbedderUsage", "EmbeddingBatch", "open_cache"]

logger = logging.getLogger(__name__)

# urllib3's rule as the guide gives it: factor x 2^(n-1), at most this many seconds, and a little jitter.
MOST_WAIT = 60.0
JITTER = 0.1


@dataclass(frozen=True)
class EmbeddingBatch:
    """Unit vectors of texts, float32 (n, dimension); a text that the endpoint refused has NaN and is in `failures`."""

    vectors: Vector
    failures: dict[int, EndpointModelError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbedderUsage:
    """What was sent so far."""

    texts_sent: int = 0
    tokens: int = 0
    requests: int = 0
    retries: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    seconds: float = 0.0  # of all requests together; more than the clock's where they overlap


class Embedder:
    """Thread-safe. Nothing is sent before the first use, which probes the endpoint."""

    def __init__(
        self, settings: EmbedderSettings, *, cache: EmbeddingCache | None = None, profile_folder: Path | None = None
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._lock = threading.Lock()
        self._probing = threading.RLock()
        self._usage = EmbedderUsage()
        self._wire: WireClient | None = None
        self._route: Route | None = None
        self._profile: EndpointProfile | None = None
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="kb-request")

    # --- what the endpoint is ------------------------------------------------------------------------------------

    @property
    def profile(self) -> EndpointProfile:
        """What the endpoint is and can do. Raises EndpointError."""
        with self._probing:
            if self._profile is None:
                self._profile = probe(self._settings, self._client(), self._send_with_retries)
                space = self._profile.space
                where = ", ".join(map(bare_url, self._settings.base_urls))
                logger.info("Embedder ready: %s at %s, %d dimensions", space.model, where, space.dimension)
            return self._profile

    @property
    def space(self) -> EmbeddingSpace:
        """The endpoint's embedding space."""
        return self.profile.space

    @property
    def tokenizer(self) -> TokenCounter:
        """Counts tokens as the endpoint does."""
        return self.profile.tokenizer

    @property
    def usage(self) -> EmbedderUsage:
        """What was sent so far."""
        return self._usage

    # --- embedding -----------------------------------------------------------------------------------------------

    def embed_query(self, text: str) -> Vector:
        """The unit vector of a question, float32 (dimension,). Raises EndpointError."""
        batch = self._embed([self._settings.query_prefix + text])
        if batch.failures:
            raise batch.failures[0]
        vector: Vector = batch.vectors[0]
        return vector

    def embed_documents(self, texts: Sequence[str]) -> EmbeddingBatch:
        """Unit vectors of passages (whose prefix they carry already). Raises EndpointError where none can be had."""
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> EmbeddingBatch:
        space = self.space
        vectors = np.full((len(texts), space.dimension), np.nan, np.float32)
        keys = [key_of(self._cache_space(), text) for text in texts]
        known = self._cache.get(keys) if self._cache is not None else {}
        missing: dict[bytes, list[int]] = {}
        for index, key in enumerate(keys):
            if key in known and known[key].shape == (space.dimension,):
                vectors[index] = known[key]
            else:
                missing.setdefault(key, []).append(index)
        hits = len(texts) - sum(map(len, missing.values()))
        self._count(cache_hits=hits, cache_misses=len(missing))
        failures: dict[int, EndpointModelError] = {}
        if missing:
            firsts = [indexes[0] for indexes in missing.values()]
            fresh, refused = self._embed_missing([texts[index] for index in firsts])
            for place, indexes in enumerate(missing.values()):
                vectors[indexes] = fresh[place]
                if place in refused:
                    failures |= dict.fromkeys(indexes, refused[place])
            if self._cache is not None:
                good = {key: fresh[place] for place, key in enumerate(missing) if place not in refused}
                self._cache.put(good)
        return EmbeddingBatch(vectors, failures)

    def _cache_space(self) -> str:
        """Everything that decides a vector: what the model is by its canaries, not by where it runs."""
        space = self.space
        rounded = np.round(space.canaries, 2).tobytes().hex()
        return f"{space.model}|{space.dimension}|{rounded}"

    def _embed_missing(self, texts: list[str]) -> tuple[Vector, dict[int, EndpointModelError]]:
        """Batches of like length, sent at the same time; vectors in the order of `texts`."""
        vectors = np.full((len(texts), self.space.dimension), np.nan, np.float32)
        refused: dict[int, EndpointModelError] = {}
        batches = list(self._batches(texts))
        running = [self._threads.submit(self._embed_batch, [texts[i] for i in batch]) for batch in batches]
        try:
            for batch, future in zip(batches, running, strict=True):
                rows, failed = future.result()
                vectors[batch] = rows
                refused |= {batch[place]: error for place, error in failed.items()}
        finally:
            for future in running:
                future.cancel()
        return vectors, refused

    def _batches(self, texts: list[str]) -> list[list[int]]:
        """Places of texts, sorted by length, at most `batch_size` and about `batch_tokens` a batch."""
        size = self._settings.batch_size if self.profile.takes_lists else 1
        most = self._settings.batch_tokens * 4  # characters; a token has about four
        batches: list[list[int]] = []
        characters = 0
        for place in sorted(range(len(texts)), key=lambda place: len(texts[place])):
            length = len(texts[place])
            if not batches or len(batches[-1]) >= size or characters + length > most:
                batches.append([])
                characters = 0
            batches[-1].append(place)
            characters += length
        return batches

    def _embed_batch(self, texts: list[str]) -> tuple[Vector, dict[int, EndpointModelError]]:
        """Vectors of one batch; one that is refused is halved, so that a bad text fails alone."""
        profile = self.profile
        try:
            return self._unit(self._send_with_retries(texts, profile.takes_lists, profile.base64)), {}
        except RequestFailed as failed:
            failure = failed.failure
        if not failure.divisible or not isinstance(failure.error, EndpointModelError):
            raise failure.error from None
        if len(texts) == 1:
            return np.full((1, profile.space.dimension), np.nan, np.float32), {0: failure.error}
        half = len(texts) // 2
        first, first_failed = self._embed_batch(texts[:half])
        second, second_failed = self._embed_batch(texts[half:])
        moved = {place + half: error for place, error in second_failed.items()}
        return np.concatenate([first, second]), first_failed | moved

    def _unit(self, vectors: Vector) -> Vector:
        unit: Vector = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        if unit.shape[1] != self.space.dimension:
            what = f"vectors have {unit.shape[1]} dimensions now, {self.space.dimension} before"
            raise not_embeddings(what, self._settings.base_urls[0], self._settings)
        return unit

    # --- one request ---------------------------------------------------------------------------------------------

    def _send_with_retries(self, texts: Sequence[str], as_list: bool, in_base64: bool) -> Vector:
        """Raw vectors of one request. Raises RequestFailed after the last attempt."""
        for attempt in range(self._settings.retries + 1):
            try:
                return self._send(texts, as_list, in_base64, attempt)
            except RequestFailed as failed:
                if not failed.failure.retryable or attempt == self._settings.retries:
                    raise
                seconds = self._wait_before(attempt + 1, failed.failure)
                logger.debug("attempt %d failed (%s); next in %.1f s", attempt + 1, failed.failure.error, seconds)
            self._count(retries=1)
            time.sleep(seconds)
        raise AssertionError("the loop returns or raises")

    def _wait_before(self, retry: int, failure: Failure) -> float:
        if failure.retry_after is not None:
            return failure.retry_after
        seconds: float = min(MOST_WAIT, self._settings.backoff_factor * 2 ** (retry - 1))
        return seconds * (1 + random.uniform(0, JITTER))

    def _send(self, texts: Sequence[str], as_list: bool, in_base64: bool, attempt: int) -> Vector:
        route = self._routed()
        with recording(self._settings.timeout) as exchange:
            try:
                answer = route.embed(texts, as_list=as_list, base64=in_base64, dimensions=self._settings.dimensions)
            except Exception as error:
                self._note(exchange, len(texts), attempt, 0)
                raise RequestFailed(failure_of(exchange, error, self._settings)) from None
        items, tokens = data_of(answer)
        self._note(exchange, len(texts), attempt, tokens)
        try:
            return _vectors(items, len(texts))
        except ValueError as error:
            where = f"POST {exchange.url}"
            raise RequestFailed(Failure(not_embeddings(str(error), where, self._settings))) from None

    def _note(self, exchange: Exchange, texts: int, attempt: int, tokens: int) -> None:
        self._count(requests=1, texts_sent=texts, tokens=tokens, seconds=exchange.seconds)
        logger.debug(
            "POST %s model=%s texts=%d sent=%d received=%d time=%.3fs status=%s attempt=%d",
            exchange.url, self._settings.model, texts, exchange.sent, len(exchange.body), exchange.seconds,
            exchange.status or type(exchange.failure).__name__, attempt + 1,
        )  # fmt: skip

    def _count(self, **more: float) -> None:
        with self._lock:
            self._usage = replace(
                self._usage, **{name: getattr(self._usage, name) + value for name, value in more.items()}
            )

    # --- connections ---------------------------------------------------------------------------------------------

    def _client(self) -> WireClient:
        with self._lock:
            if self._wire is None:
                self._wire = WireClient(
                    headers_of(self._settings), timeout=self._settings.timeout, connections=self._settings.concurrency
                )
            return self._wire

    def _routed(self) -> Route:
        wire = self._client()
        with self._lock:
            if self._route is None:
                settings = self._settings
                self._route = Route(settings.base_urls, settings.model, wire, timeout=settings.timeout)
            return self._route

    def close(self) -> None:
        """Closes connections and cache."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._route is not None:
            self._route.close()
        if self._wire is not None:
            self._wire.close()
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_cache(settings: CacheSettings, *, folder: Path) -> EmbeddingCache | None:
    """The cache of the settings: Redis, or a file in `folder`, or none."""
    if not settings.enabled:
        return None
    if settings.url is not None:
        return RedisCache(settings.url, prefix=settings.prefix, ttl_seconds=settings.ttl_days * 86_400)
    return DiskCache(folder / "embeddings.sqlite", max_bytes=settings.max_mb * 1_000_000)


def _vectors(items: Sequence[Mapping[str, Any]], expected: int) -> Vector:
    """The raw vectors of an answer in the order asked for. Raises ValueError, which says what is wrong with them."""
    if len(items) != expected:
        raise ValueError(f"{expected} texts were sent, but {len(items)} vectors came back")
    indexes = [item.get("index") for item in items]
    if sorted(index for index in indexes if isinstance(index, int)) == list(range(expected)):
        items = sorted(items, key=lambda item: int(item["index"]))
    rows = [_row(item.get("embedding")) for item in items]
    if len({row.shape for row in rows}) > 1:
        raise ValueError(f"vectors of different sizes came back: {sorted({row.shape[0] for row in rows})}")
    vectors = np.stack(rows)
    if not np.isfinite(vectors).all():
        raise ValueError("a vector with NaN or infinity came back")
    if not np.linalg.norm(vectors, axis=1).all():
        raise ValueError("a vector of nothing but zeros came back")
    return vectors


def _row(embedding: Any) -> Vector:
    try:
        if isinstance(embedding, str):
            row = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        else:
            row = np.asarray(embedding, np.float32)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ValueError(f"what came back as an embedding is none: {error}") from None
    if row.ndim != 1 or not row.size:
        raise ValueError(f"what came back as an embedding is none: {type(embedding).__name__} of shape {row.shape}")
    return row.astype(np.float32)
