"""A map of a collection: passages on a plane, near each other where they say similar things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kb.store import Store
from kb.types import Vector

__all__ = ["CollectionMap", "collection_map"]

SAMPLE = 2_000


@dataclass(frozen=True, slots=True)
class CollectionMap:
    """`points`: float32 (passages, 2); `documents`: the path of each one's document; `share`: what the plane keeps."""

    points: Vector
    documents: tuple[str, ...]
    share: float

    def to_dict(self) -> dict[str, Any]:
        """As data: the middle of each document."""
        middles = {}
        for path in sorted(set(self.documents)):
            rows = [row for row, document in enumerate(self.documents) if document == path]
            middles[path] = [round(float(number), 4) for number in self.points[rows].mean(axis=0)]
        return {"passages": len(self.documents), "share": round(self.share, 4), "documents": middles}


def collection_map(store: Store, *, sample: int = SAMPLE) -> CollectionMap:
    """The two main directions (PCA) of an even sample of all passages. Raises StoreError."""
    table = store.sample(["doc_id", "recipe", "vector"], sample)
    if table is None or table.num_rows < 3:
        return CollectionMap(np.empty((0, 2), np.float32), (), 0.0)
    contents = store.contents()
    keys = list(zip(table["doc_id"].to_pylist(), table["recipe"].to_pylist(), strict=True))
    there = [row for row, key in enumerate(keys) if key in contents]
    vectors = np.stack(table["vector"].combine_chunks().to_numpy(zero_copy_only=False))[there].astype(np.float32)
    centred = vectors - vectors.mean(axis=0)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T
    total = float((strengths**2).sum()) or 1.0
    paths = tuple(contents[keys[row]][0].path for row in there)
    return CollectionMap(points.astype(np.float32), paths, float((strengths[:2] ** 2).sum()) / total)
