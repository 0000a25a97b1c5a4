"""The embedding cache that several machines share: Redis, in pipelines, with a time to live."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis

from kb.embed.cache import id_of, packed, same_space, unpacked
from kb.embed.space import EmbeddingSpace
from kb.errors import ConfigurationError
from kb.types import Vector

__all__ = ["RedisCache"]

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
# After a failure it is left alone this long, so that a Redis that is gone does not slow every batch down.
PAUSE_SECONDS = 30.0
LOOKUP_BATCH = 1000


class RedisCache:
    """Losing Redis costs a warning and time, never a result. Thread-safe."""

    def __init__(self, url: str, *, prefix: str, ttl_seconds: float) -> None:
        try:
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, decode_responses=False
            )
        except ValueError:
            fix = "Write redis://host:port/db (rediss:// for TLS)."
            raise ConfigurationError("is no URL of a Redis", where="cache.url", fix=fix) from None
        self._where = f"{urlsplit(url).hostname}:{urlsplit(url).port or 6379}"  # never the password
        self._prefix, self._ttl = prefix.encode(), max(1, int(ttl_seconds * 1000))
        self._paused_until = 0.0

    def space_id(self, space: EmbeddingSpace) -> str:
        """The id of the space, noted down if it is new."""
        new = id_of(space)
        if time.monotonic() < self._paused_until:
            return new
        spaces = self._prefix + b"spaces"
        try:
            noted = self._redis.hgetall(spaces)
            texts = sorted((key.decode(), value.decode()) for key, value in noted.items())
            known = same_space(space, texts)
            if known is None:
                self._redis.hset(spaces, new, space.to_json())
        except redis.RedisError as error:
            self._pause(error)
            return new
        return known or new

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there, each float32 (dimension,), by MGET."""
        if not keys or time.monotonic() < self._paused_until:
            return {}
        found: dict[bytes, Vector] = {}
        try:
            for start in range(0, len(keys), LOOKUP_BATCH):
                part = keys[start : start + LOOKUP_BATCH]
                values = self._redis.mget([self._prefix + key for key in part])
                vectors = zip(part, map(unpacked, values), strict=True)
                found |= {key: vector for key, vector in vectors if vector is not None}
        except redis.RedisError as error:
            self._pause(error)
        return found

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keeps vectors for their time to live, by one pipeline."""
        if not vectors or time.monotonic() < self._paused_until:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, vector in vectors.items():
                    pipeline.set(self._prefix + key, packed(vector), px=self._ttl)
                pipeline.execute()
        except redis.RedisError as error:
            self._pause(error)

    def ping(self) -> None:
        """Raises redis.RedisError where it does not answer."""
        self._redis.ping()

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def _pause(self, error: redis.RedisError) -> None:
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("The embedding cache at %s does not answer (%s); going on without it.", self._where, error)
