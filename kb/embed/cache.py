"""What an embedding cache is: vectors by embedding space and text. Losing it costs time, never a result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from kb.embed.space import EmbeddingSpace
from kb.types import Vector

__all__ = ["EmbeddingCache", "id_of", "key_of", "packed", "same_space", "unpacked"]

UNIT = 1e-2  # how far from 1 the norm of a kept vector may be


class EmbeddingCache(Protocol):
    """Raises nothing: what cannot be read is not there, what cannot be kept is not kept."""

    def space_id(self, space: EmbeddingSpace) -> str:
        """The id under which the vectors of this space are kept."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there, each float32 (dimension,)."""

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keeps vectors."""

    def close(self) -> None:
        """Lets go of files and connections."""


def key_of(space_id: str, text: str) -> bytes:
    """The key of a text in an embedding space, 32 bytes."""
    return hashlib.sha256(space_id.encode() + b"\x00" + text.encode()).digest()


def id_of(space: EmbeddingSpace) -> str:
    """The id of a space that is met for the first time."""
    return hashlib.sha256(space.to_json().encode()).hexdigest()[:32]


def same_space(space: EmbeddingSpace, known: Iterable[tuple[str, str]]) -> str | None:
    """The id of the known space (id, JSON) that is this one; canaries are never equal to the last bit."""
    for space_id, text in known:
        try:
            if EmbeddingSpace.from_json(text).difference(space) is None:
                return space_id
        except (ValueError, KeyError, TypeError):
            continue
    return None


def packed(vector: Vector) -> bytes:
    """A vector as little-endian float32."""
    return np.ascontiguousarray(vector, "<f4").tobytes()


def unpacked(data: object) -> Vector | None:
    """The vector in the bytes; None where they hold no unit vector (somebody else's, or damaged)."""
    if not isinstance(data, bytes) or not data or len(data) % 4:
        return None
    vector = np.frombuffer(data, "<f4")
    return vector if abs(float(vector @ vector) - 1.0) < UNIT else None
