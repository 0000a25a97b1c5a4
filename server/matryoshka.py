"""Shorter vectors of models that were trained for them: the first dimensions, made unit length again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import bad_request

__all__ = ["check_dimensions", "declared_dimensions", "shortened"]


def declared_dimensions(settings: Any, dimension: int) -> tuple[int, ...] | None:
    """The shorter sizes that a model's settings name; empty for any size, None where it was not trained for it."""
    named = getattr(settings, "matryoshka_dimensions", None)
    if named:
        return tuple(sorted({int(size) for size in named if int(size) <= dimension}))
    return () if getattr(settings, "is_matryoshka", False) else None


def shortened(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """float32 (n, dimensions)."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    short = vectors[:, :dimensions]
    unit: NDArray[np.float32] = short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-12)
    return unit


def check_dimensions(dimensions: int | None, full: int, *, allowed: tuple[int, ...] | None, name: str) -> None:
    """Raises RequestError for a size that the model cannot give; before the forward pass, which would be wasted."""
    if dimensions is None or dimensions == full:
        return
    if allowed is None:
        reason = f"{name} has vectors of {full} dimensions and was not trained for shorter ones."
    elif not 0 < dimensions < full:
        reason = f"{name} has vectors of at most {full} dimensions."
    elif allowed and dimensions not in allowed:
        reason = f"{name} has vectors of {', '.join(map(str, allowed))} dimensions."
    else:
        return
    raise bad_request(reason, parameter="dimensions")
