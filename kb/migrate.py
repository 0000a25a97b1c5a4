"""The migration flow: a collection's passages embedded anew, because the endpoint serves another model now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from kb.errors import EndpointModelError
from kb.pipeline import EmbeddingEndpoint
from kb.store import Store
from kb.types import Progress, Vector

__all__ = ["migrate"]

# Passages embedded at a time; the embedding cache keeps them, so that a run cut off goes on quickly.
BATCH = 2_000


def migrate(store: Store, endpoint: EmbeddingEndpoint, *, draw: Callable[[Progress], None]) -> int:
    """Embeds every stored passage with the endpoint's model and swaps the vectors in one step; gives their number.

    A search sees the old vectors until then, and a kill leaves them. Raises EndpointModelError where the model does
    not take a passage (they are too long for it): nothing is changed then.
    """
    space = endpoint.space
    total = store.statistics().chunks
    done = 0

    def batches() -> Iterator[tuple[pa.RecordBatch, Vector]]:
        nonlocal done
        for rows in store.passages(BATCH):
            embedded = endpoint.embed_documents(rows.column("searched_text").to_pylist())
            if embedded.failures:
                first = embedded.failures[min(embedded.failures)]
                fix = "Name another storage.collection and ingest into it: its chunks are made to fit this model."
                raise EndpointModelError(
                    f"{space.model!r} does not take passages as they were cut for another model: {first.what}",
                    where=store.uri,
                    fix=fix,
                )
            done += rows.num_rows
            draw(Progress(done, total, "migrate"))
            yield rows, embedded.vectors

    with store.writing():
        store.sweep()
        if total:
            store.replace_vectors(batches(), dimension=space.dimension, space=space.to_json())
            store.bring_up_to_date()
    return done
