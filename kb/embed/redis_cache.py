"""The embedding cache that several machines share: Redis, in pipelines, with a time to live."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import numpy as np
import redis

from kb.types import Vector

__all__ = ["RedisCache"]

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
# After a failure it is left alone this long, so that a Redis that is gone does not slow every batch down.
PAUSE_SECONDS = 30.0


class RedisCache:
    """Losing Redis costs a warning and time, never a result."""

    def __init__(self, url: str, *, prefix: str, ttl_seconds: float) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, decode_responses=False
        )
        self._where = f"{urlsplit(url).hostname}:{urlsplit(url).port or 6379}"
        self._prefix = prefix.encode()
        self._ttl = int(ttl_seconds * 1000)
        self._paused_until = 0.0

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there, by one MGET."""
        if not keys or time.monotonic() < self._paused_until:
            return {}
        try:
            values = self._redis.mget([self._prefix + key for key in keys])
        except redis.RedisError as error:
            self._pause(error)
            return {}
        found = zip(keys, values, strict=True)
        return {key: np.frombuffer(value, "<f4") for key, value in found if isinstance(value, bytes)}

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keeps vectors, by one pipeline."""
        if not vectors or time.monotonic() < self._paused_until:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, vector in vectors.items():
                    pipeline.set(self._prefix + key, np.ascontiguousarray(vector, "<f4").tobytes(), px=self._ttl)
                pipeline.execute()
        except redis.RedisError as error:
            self._pause(error)

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def _pause(self, error: redis.RedisError) -> None:
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("The embedding cache at %s does not answer (%s); going on without it.", self._where, error)
