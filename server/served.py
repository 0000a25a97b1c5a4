"""A model with its queues, as requests and operators see it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from server.batching import Batcher
from server.sharing import share
from server.work import Timings

if TYPE_CHECKING:
    from server.loading import Model

__all__ = ["Served"]

# A request with as many texts for each replica is shared among them.
SHARED_TEXTS = 16


class Served:
    """A model with one queue for each of its replicas."""

    def __init__(self, replicas: Sequence[Model], batchers: Sequence[Batcher], created: int) -> None:
        self.model = replicas[0]
        self.batchers = batchers
        self.devices = [replica.device for replica in replicas]
        self._created = created

    def submit(self, ids: Sequence[Sequence[int]], timings: Timings) -> asyncio.Future[NDArray[np.float32]]:
        """Vectors of a request's texts, later: a question's from the replica that is free first, a bulk's from all."""
        free_first = sorted(self.batchers, key=lambda batcher: batcher.seconds_until_free)
        if len(ids) < SHARED_TEXTS * len(free_first):
            free_first = free_first[:1]
        return free_first[0].submit(ids, timings) if len(free_first) == 1 else share(ids, free_first, timings)

    @property
    def seconds_of_queue(self) -> float:
        """How long what waits will take."""
        return self.queued_tokens / self.tokens_per_second

    @property
    def queued_tokens(self) -> int:
        """What waits, over all replicas."""
        return sum(batcher.queued_tokens for batcher in self.batchers)

    @property
    def queued_requests(self) -> int:
        """How many requests have texts that wait, over all replicas."""
        return sum(batcher.queued_requests for batcher in self.batchers)

    @property
    def oldest_queued_seconds(self) -> float:
        """How long the text that waits longest has waited."""
        return max(batcher.oldest_queued_seconds for batcher in self.batchers)

    @property
    def tokens_per_second(self) -> float:
        """The rate measured last, over all replicas."""
        return sum(batcher.tokens_per_second for batcher in self.batchers)

    @property
    def is_alive(self) -> bool:
        """Whether every replica's thread works."""
        return not any(batcher.is_stuck for batcher in self.batchers)

    @property
    def card(self) -> dict[str, Any]:
        """The model as /v1/models lists it."""
        return {
            "id": self.model.name,
            "object": "model",
            "created": self._created,
            "owned_by": "sentence-transformers",
            "aliases": list(self.model.names[1:]),
            "kind": self.model.kind,
            "max_model_len": self.model.max_tokens,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": ", ".join(self.devices),
            **self.model.provenance,
            **self.model.card,
        }

    @property
    def summary(self) -> str:
        """One line for the start of the server."""
        card = self.card
        size = f"{card['dimension']} dimensions" if "dimension" in card else "reranker"
        return f"{card['id']} ({card['dtype']} on {card['device']}, {size}, {card['max_model_len']} tokens)"
