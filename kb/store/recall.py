"""Whether the vector index still finds what exact search finds: measured when it is built or much has changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kb.store import indexes
from kb.store.tables import Tables, upsert
from kb.types import Vector

__all__ = ["INDEX_KEY", "STATE", "IndexState", "index_state", "keep_recall"]

STATE = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.string(), nullable=False)])
INDEX_KEY = "vector_index"

SAMPLED = 30  # queries; at 1,000,000 rows an exact one takes 1.5 s
NEIGHBOURS = 10
LEAST_RECALL = 0.95
# Partitions looked into, more only where fewer find too little.
NPROBES = (indexes.NPROBES, 2 * indexes.NPROBES, 4 * indexes.NPROBES, 8 * indexes.NPROBES)
# It is measured again once the table has grown or shrunk by this share.
CHANGED = 0.1


@dataclass(frozen=True, slots=True)
class IndexState:
    """What was measured last: the share of the true ten nearest found in so many partitions, at how many rows."""

    recall: float
    rows: int
    nprobes: int = indexes.NPROBES


def index_state(tables: Tables) -> IndexState | None:
    """The last measurement, None where there is no index or none was made."""
    table = tables.get("state")
    if table is None:
        return None
    rows = table.search().where(f"key = '{INDEX_KEY}'").limit(1).to_list()
    return IndexState(**json.loads(rows[0]["value"])) if rows else None


def keep_recall(tables: Tables) -> None:
    """Measures the index where it is due; where it finds too little it is built anew, and searched more widely."""
    chunks = tables.get("chunks")
    if chunks is None or indexes.index_of(chunks, "vector") is None:
        return
    rows, known = chunks.count_rows(), index_state(tables)
    if known is not None and abs(rows - known.rows) < CHANGED * known.rows:
        return
    state = _measured(chunks, rows)
    if state.nprobes > indexes.NPROBES and known is not None:  # it was built for other rows than there are now
        indexes.build_vector_index(chunks)
        state = _measured(chunks, rows)
    row = {"key": INDEX_KEY, "value": json.dumps(asdict(state))}
    upsert(tables.ensure("state", STATE), "key", pa.Table.from_pylist([row], schema=STATE))


def _measured(chunks: Any, rows: int) -> IndexState:
    """The fewest partitions that find enough, or the most that are ever looked into."""
    for nprobes in NPROBES:
        recall = measured_recall(chunks, nprobes=nprobes)
        if recall >= LEAST_RECALL:
            break
    return IndexState(round(recall, 4), rows, nprobes)


def measured_recall(chunks: Any, *, nprobes: int = indexes.NPROBES, sampled: int = SAMPLED) -> float:
    """recall@10 against exact search. The queries lie between two stored vectors each, as those of people do."""
    rows = chunks.count_rows()
    offsets = [index * rows // (2 * sampled) for index in range(2 * sampled)]
    taken = chunks.take_offsets(offsets).select(["vector"]).to_arrow()["vector"].combine_chunks()
    vectors = np.asarray(taken.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(len(taken), -1)
    queries = vectors[::2] + 0.5 * vectors[1::2]
    shares = []
    for query in queries:
        exact = _nearest(chunks, query, nprobes=None)
        shares.append(len(exact & _nearest(chunks, query, nprobes=nprobes)) / max(1, len(exact)))
    return float(np.mean(shares))


def _nearest(chunks: Any, vector: Vector, *, nprobes: int | None) -> set[str]:
    """Ids of the ten nearest; without the index where no partitions are named."""
    query = chunks.search(vector, vector_column_name="vector").distance_type("cosine").select(["chunk_id", "_distance"])
    if nprobes is None:
        query = query.bypass_vector_index()
    else:
        query = query.nprobes(nprobes).refine_factor(indexes.refine_factor(NEIGHBOURS))
    return set(query.limit(NEIGHBOURS).to_arrow()["chunk_id"].to_pylist())
