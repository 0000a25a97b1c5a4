"""Maximal marginal relevance: hits that answer and that do not say the same again (Carbonell and Goldstein, 1998)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kb.search.fusion import Fused
from kb.types import Vector

__all__ = ["diversified"]


def diversified(items: Sequence[Fused], vectors: Mapping[str, Vector], *, diversity: float, limit: int) -> list[Fused]:
    """The first `limit` items, each chosen for its score less its likeness to those before; `vectors` by chunk id.

    `diversity` 0 is the order as it was, 1 looks at likeness alone.
    """
    waiting = list(items)
    best = max((item.score for item in waiting), default=0.0) or 1.0
    likeness = dict.fromkeys((item.row["chunk_id"] for item in waiting), 0.0)
    chosen: list[Fused] = []
    while waiting and len(chosen) < limit:
        item = max(
            waiting,
            key=lambda item: (1 - diversity) * item.score / best - diversity * likeness[item.row["chunk_id"]],
        )
        waiting.remove(item)
        chosen.append(item)
        for other in waiting:
            name = other.row["chunk_id"]
            likeness[name] = max(likeness[name], float(vectors[item.row["chunk_id"]] @ vectors[name]))
    return chosen
