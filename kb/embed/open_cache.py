"""The embedding cache that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from kb.config import CacheSettings
from kb.embed.cache import EmbeddingCache
from kb.embed.disk_cache import DiskCache

__all__ = ["open_cache"]


def open_cache(settings: CacheSettings, *, folder: Path) -> EmbeddingCache | None:
    """Redis, or a file in `folder`, or none. Raises ConfigurationError for a URL that is not Redis's."""
    if not settings.enabled:
        return None
    if settings.url is None:
        return DiskCache(folder / "embeddings.sqlite", max_bytes=settings.max_mb * 1_000_000)
    from kb.embed.redis_cache import RedisCache  # needs the redis package, which a cache on disk does not

    url = settings.url.get_secret_value()
    return RedisCache(url, prefix=settings.prefix, ttl_seconds=settings.ttl_days * 86_400)
