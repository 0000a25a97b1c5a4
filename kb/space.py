"""The guard of a collection's embedding space: vectors of two models never mix."""

from __future__ import annotations

from kb.embed import EmbeddingSpace
from kb.errors import EndpointModelError
from kb.store import Store

__all__ = ["check_space", "space_of"]


def space_of(store: Store) -> EmbeddingSpace | None:
    """The space of the vectors stored, None where there are none yet."""
    told = store.space
    return EmbeddingSpace.from_json(told) if told is not None else None


def check_space(store: Store, space: EmbeddingSpace) -> None:
    """Raises EndpointModelError where the collection holds vectors of another space than the endpoint gives."""
    known = space_of(store)
    difference = known.difference(space) if known is not None else None
    if difference is not None:
        raise EndpointModelError(
            f"the endpoint's vectors do not fit those stored: {difference}",
            where=store.uri,
            fix="Set embedder.model back, or run kb migrate to embed what is stored anew with this model.",
        )
