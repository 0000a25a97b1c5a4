"""What the embedder hands out: vectors with the texts that failed, and counters."""

from __future__ import annotations

from dataclasses import dataclass, field

from kb.errors import EndpointModelError
from kb.types import Vector

__all__ = ["EmbedderUsage", "EmbeddingBatch"]


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
