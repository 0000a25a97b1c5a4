"""From litellm's answer to an array of vectors, in the order of the texts, refused where anything is wrong with it."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kb.types import Vector

__all__ = ["came_as_base64", "index_order", "items_of", "tokens_of", "unit", "vectors_of"]


def items_of(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The items of an answer. Raises ValueError where there is no list of them."""
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ValueError("the answer has no list of objects named 'data'")
    return data


def tokens_of(answer: Mapping[str, Any]) -> int:
    """The prompt tokens that an answer says it used, 0 where it says nothing."""
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
    return tokens if isinstance(tokens, int) else 0


def index_order(items: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """The places that the items name, None for the order they lie in. Raises ValueError where they make no sense."""
    indexes = [item.get("index") for item in items]
    if indexes == list(range(len(items))):
        return None
    if all(index is None for index in indexes) or (len(items) > 1 and all(index == 0 for index in indexes)):
        return None  # some servers leave it out, or leave it at 0: then the order is that of the texts
    if sorted(index for index in indexes if isinstance(index, int)) != list(range(len(items))):
        raise ValueError(f"the indexes of {len(items)} vectors are {_short(indexes)}")
    return [int(index) for index in indexes if index is not None]


def vectors_of(items: Sequence[Mapping[str, Any]], expected: int, dimension: int | None = None) -> Vector:
    """The raw vectors, float32 (expected, d), in the order asked for. Raises ValueError that says what is wrong."""
    if len(items) != expected:
        raise ValueError(f"{expected} texts were sent, but {len(items)} vectors came back")
    order = index_order(items)
    rows = _rows([item.get("embedding") for item in items])
    sizes = sorted({len(row) // 4 for row in rows})
    if len(sizes) > 1:
        raise ValueError(f"vectors of different sizes came back: {_short(sizes)}")
    if dimension is not None and sizes != [dimension]:
        raise ValueError(f"vectors have {sizes[0]} dimensions now, {dimension} before")
    vectors: Vector = np.frombuffer(bytearray().join(rows), "<f4").reshape(expected, -1)
    if order is not None:
        vectors = vectors[np.argsort(order)]
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if not np.isfinite(squares).all():
        raise ValueError("a vector with NaN or infinity came back")
    if not squares.all():
        raise ValueError("a vector of nothing but zeros came back")
    return vectors


def unit(vectors: Vector, *, in_place: bool = False) -> Vector:
    """The same directions with L2 norm 1, float32 (n, d)."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: Vector = np.divide(vectors, lengths[:, None], out=vectors if in_place else None)
    return scaled


def came_as_base64(items: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the endpoint did answer in base64; one that does not know it answers numbers."""
    return all(isinstance(item.get("embedding"), str) for item in items)


def _rows(embeddings: Sequence[Any]) -> list[bytes]:
    """Vectors as little-endian float32, from base64 or lists of numbers. Raises ValueError."""
    if not all(type(embedding) is str for embedding in embeddings):
        return [_row(embedding) for embedding in embeddings]
    try:
        rows = list(map(binascii.a2b_base64, embeddings))
    except ValueError:
        raise ValueError("a vector that is no base64 came back") from None
    odd = next((row for row in rows if len(row) % 4 or not row), None)
    if odd is not None:
        raise ValueError(f"a base64 vector of {len(odd)} bytes came back, which are no 32-bit floats")
    return rows


def _row(embedding: Any) -> bytes:
    if isinstance(embedding, str):
        return _rows([embedding])[0]
    if not isinstance(embedding, list) or not embedding:
        raise ValueError(f"a {type(embedding).__name__} came back where a vector should be")
    try:
        row = np.array(embedding, "<f4")
    except (TypeError, ValueError):
        raise ValueError("a vector with something else than numbers in it came back") from None
    if row.ndim != 1:
        raise ValueError(f"a vector of shape {row.shape} came back; token embeddings cannot be searched")
    return row.tobytes()


def _short(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:6]))
    return f"{shown}, …" if len(values) > 6 else shown
