"""The embedding space of an endpoint: two vectors may be compared only if they come from the same one."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Self

import numpy as np

from kb.types import Vector

__all__ = ["CANARIES", "EmbeddingSpace"]

# Fixed texts whose vectors tell one model from another, whatever it calls itself. Changing them voids every collection.
CANARIES = (
    "The quarterly report shows that operating margin fell by three percent.",
    "Der Ausschuss tagte am 4. Mai und billigte das Protokoll.",
    "def area(radius): return 3.14159 * radius ** 2",
)
# Precision (bf16 against fp32) moves a vector by 1e-4; another model, pooling or prompt by far more.
LEAST_COSINE = 0.999


@dataclass(frozen=True)
class EmbeddingSpace:
    """Model, dimension, and the unit vectors of the canaries: float32 (len(CANARIES), dimension)."""

    model: str
    dimension: int
    canaries: Vector

    def difference(self, other: EmbeddingSpace) -> str | None:
        """What differs, in words, where vectors of both must not mix; None where they may."""
        if self.dimension != other.dimension:
            return f"{self.model!r} has {self.dimension} dimensions, {other.model!r} has {other.dimension}"
        cosine = float((self.canaries * other.canaries).sum(axis=1).min())
        if cosine < LEAST_COSINE:
            named = f"{other.model!r} now" if self.model == other.model else f"{other.model!r}"
            return f"those of {self.model!r} and of {named} for the same text have a cosine of {cosine:.3f}"
        return None

    def to_json(self) -> str:
        """The space as text, to store with a collection."""
        canaries = base64.b64encode(np.ascontiguousarray(self.canaries, "<f4").tobytes()).decode("ascii")
        return json.dumps({"model": self.model, "dimension": self.dimension, "canaries": canaries})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The space that `to_json` wrote."""
        data = json.loads(text)
        flat = np.frombuffer(base64.b64decode(data["canaries"]), "<f4")
        return cls(data["model"], data["dimension"], flat.reshape(-1, data["dimension"]).astype(np.float32))
