"""The guard of a collection's embedding space: vectors of two models never mix."""

from __future__ import annotations

from kb.embed import EmbeddingSpace
from kb.errors import EndpointModelError
from kb.store import Store

__all__ = ["SPACE_KEY", "check_space", "remember_space"]

SPACE_KEY = "embedding_space"


def check_space(store: Store, space: EmbeddingSpace) -> None:
    """Raises EndpointModelError where the collection holds vectors of another space than the endpoint gives."""
    known = store.meta(SPACE_KEY)
    if known is None:
        return
    difference = EmbeddingSpace.from_json(known).difference(space)
    if difference is not None:
        raise EndpointModelError(
            f"the endpoint's vectors do not fit those stored: {difference}",
            where=store.uri,
            fix="Set embedder.model back, or name another storage.collection and ingest into it.",
        )


def remember_space(store: Store, space: EmbeddingSpace) -> None:
    """Notes the space with the collection, once."""
    if store.meta(SPACE_KEY) is None:
        store.set_meta(SPACE_KEY, space.to_json())
