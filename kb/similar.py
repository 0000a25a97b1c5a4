"""More like this: the passages nearest to one that was found."""

from __future__ import annotations

import numpy as np

from kb.errors import StoreError
from kb.search import Fused, hit_of
from kb.store import Store
from kb.types import Hit

__all__ = ["more_like"]


def more_like(store: Store, hit: Hit, *, limit: int) -> list[Hit]:
    """Hits by cosine similarity to a hit's passage, itself left out. Raises StoreError where it is gone."""
    rows = store.rows("chunks", ["vector"], {"chunk_id": hit.chunk_id}, limit=1)
    if not rows:
        fix = "Search again: the document was read anew or removed meanwhile."
        raise StoreError("the passage is not in the collection any more", where=hit.citation, fix=fix)
    vector = np.asarray(rows[0]["vector"], np.float32)
    nearest = store.nearest(vector, limit=limit + 1).result()
    near = [item for item in nearest if item.row["chunk_id"] != hit.chunk_id]
    contents = store.contents()
    return [
        hit_of(
            Fused(item.row, item.score, {"vector": rank}),
            rank=rank,
            documents=contents[item.row["doc_id"], item.row["recipe"]],
        )
        for rank, item in enumerate(near[:limit], start=1)
    ]
