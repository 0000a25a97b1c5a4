"""Whether the vector index still finds what exact search finds: measured when it is built or much has changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from kb.store import indexes
from kb.store.indexes import Effort
from kb.store.tables import Tables, upsert
from kb.types import Vector

__all__ = ["INDEX_KEY", "STATE", "IndexState", "index_state", "keep_recall"]

STATE = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.string(), nullable=False)])
INDEX_KEY = "vector_index"

SAMPLED = 30  # queries
ROWS_AT_ONCE = 8192
NEIGHBOURS = 10
LEAST_RECALL = 0.98
# Tried in this order, the first that finds enough is kept. An index of an earlier version, of 1 bit, needs a hundred.
EFFORTS = (Effort(), Effort(20, 100), Effort(40, 100), Effort(80, 100), Effort(160, 100))
# It is measured again once the table has grown or shrunk by this share.
CHANGED = 0.1

# Each ingest adds a part to the index, and rows of different parts stay in fragments of their own. So many, of a month
# of nightly runs, cost a search a tenth of its time; the next ingest compacts the fragments of one that is built anew.
MOST_PARTS = 30

# Of cosine distances. Passages that say the same lie equally near, and which of them is found is all one.
AS_NEAR = 1e-5

Truth = list[tuple[Vector, list[float]]]  # queries, each with the distances of the chunks that are nearest


@dataclass(frozen=True, slots=True)
class IndexState:
    """What was measured last: the share of the true ten nearest found with so much effort, at how many rows."""

    recall: float
    rows: int
    nprobes: int = 20
    compared: int = 100  # by the versions that did not write it down

    @property
    def effort(self) -> Effort:
        """How widely searches look."""
        return Effort(self.nprobes, self.compared)


def index_state(tables: Tables) -> IndexState | None:
    """The last measurement, None where there is no index or none was made."""
    table = tables.get("state")
    if table is None:
        return None
    rows = table.search().where(f"key = '{INDEX_KEY}'").limit(1).to_list()
    if not rows:
        return None
    known = json.loads(rows[0]["value"])  # what a later version keeps beside it is left alone
    return IndexState(**{field.name: known[field.name] for field in fields(IndexState) if field.name in known})


def keep_recall(tables: Tables) -> None:
    """Measures the index where it is due, built anew where it has many parts.

    Where it finds too little it is built anew as well, and searched more widely.
    """
    chunks = tables.get("chunks")
    index = indexes.index_of(chunks, "vector") if chunks is not None else None
    if chunks is None or index is None:
        return
    rows, known = chunks.count_rows(), index_state(tables)
    in_parts = chunks.index_stats(index.name).num_indices > MOST_PARTS
    if not rows or (known is not None and not in_parts and abs(rows - known.rows) < CHANGED * known.rows):
        return
    if in_parts:
        indexes.build_vector_index(chunks)
    truth = nearest_of_a_sample(chunks)
    state = _measured(chunks, truth)
    if known is not None and not in_parts and _is_worse(state, known):  # it was built for other rows than there are now
        indexes.build_vector_index(chunks)
        state = _measured(chunks, truth)
    row = {"key": INDEX_KEY, "value": json.dumps(asdict(state))}
    upsert(tables.ensure("state", STATE), "key", pa.Table.from_pylist([row], schema=STATE))


def _is_worse(state: IndexState, known: IndexState) -> bool:
    """An index that needs more effort than others did from the start is only hard to search."""
    return (state.nprobes, state.compared) > (known.nprobes, known.compared) or state.recall < LEAST_RECALL


def nearest_of_a_sample(chunks: Any, sampled: int = SAMPLED) -> Truth:
    """Queries that lie between two stored vectors each, as those of people do, and what an exact search finds.

    All of them in one pass over the table: LanceDB would read every vector again for each.
    """
    rows = chunks.count_rows()
    offsets = [index * rows // (2 * sampled) for index in range(2 * sampled)]
    vectors = _vectors(chunks.take_offsets(offsets).select(["vector"]).to_arrow()["vector"].combine_chunks())
    queries = vectors[::2] + 0.5 * vectors[1::2]
    unit = _unit(queries)
    nearest = np.empty((len(queries), 0), np.float32)
    for batch in chunks.search().select(["vector"]).to_batches(ROWS_AT_ONCE):
        distances = 1 - unit @ _unit(_vectors(batch["vector"])).T
        nearest = np.sort(np.concatenate([nearest, distances], axis=1), axis=1)[:, :NEIGHBOURS]
    return list(zip(queries, nearest.tolist(), strict=True))


def measured_recall(chunks: Any, truth: Truth, effort: Effort) -> float:
    """recall@10 against exact search."""
    shares = []
    for query, exact in truth:
        as_near = sum(distance <= exact[-1] + AS_NEAR for distance in _nearest(chunks, query, effort))
        shares.append(min(1.0, as_near / len(exact)))
    return float(np.mean(shares))


def _measured(chunks: Any, truth: Truth) -> IndexState:
    """The least effort that finds enough, or the most that is ever made."""
    for effort in EFFORTS:
        recall = measured_recall(chunks, truth, effort)
        if recall >= LEAST_RECALL:
            break
    return IndexState(round(recall, 4), chunks.count_rows(), effort.nprobes, effort.compared)


def _nearest(chunks: Any, vector: Vector, effort: Effort) -> list[float]:
    """Distances of the ten that the index finds."""
    query = chunks.search(vector, vector_column_name="vector").distance_type("cosine").select(["_distance"])
    distances: list[float] = effort.on(query, NEIGHBOURS).limit(NEIGHBOURS).to_arrow()["_distance"].to_pylist()
    return distances


def _vectors(column: pa.FixedSizeListArray) -> Vector:
    """Shape (rows, dimension), float32, without a copy where there is nothing to leave out."""
    vectors: Vector = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return vectors


def _unit(vectors: Vector) -> Vector:
    unit: Vector = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return unit
