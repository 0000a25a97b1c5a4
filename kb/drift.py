"""Model drift: the endpoint's vectors of today for the three fixed texts, held against those stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kb.embed import EmbeddingSpace
from kb.embed.space import LEAST_COSINE
from kb.html import render
from kb.space import space_of
from kb.store import Store

__all__ = ["Drift", "drift"]


@dataclass(frozen=True, slots=True)
class Drift:
    """`cosines` are empty where nothing is stored yet, or the dimensions differ."""

    stored: str
    now: str
    cosines: tuple[float, ...]
    problem: str

    @property
    def verdict(self) -> str:
        """One line for a person."""
        if self.problem:
            return f"{self.problem}. Set embedder.model back, or run kb migrate."
        if not self.cosines:
            return "Nothing is stored yet."
        return f"No drift: cosine {min(self.cosines):.5f} at least; below {LEAST_COSINE} vectors no longer fit."

    def to_dict(self) -> dict[str, Any]:
        """As data."""
        return asdict(self) | {"verdict": self.verdict}

    def _repr_html_(self) -> str:
        return render("drift.html", drift=self)


def drift(store: Store, space: EmbeddingSpace) -> Drift:
    """How far the endpoint is from what is stored."""
    known = space_of(store)
    if known is None:
        return Drift("", space.model, (), "")
    same = known.dimension == space.dimension
    cosines = np.sum(known.canaries * space.canaries, axis=1) if same else np.empty(0)
    rounded = tuple(round(float(cosine), 6) for cosine in cosines)
    return Drift(known.model, space.model, rounded, known.difference(space) or "")
