"""Texts to vectors by the endpoint: probed, batched, concurrent, retried where that can help, cached, checked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from kb.config import EmbedderSettings
from kb.embed.batches import Batches
from kb.embed.cache import EmbeddingCache, key_of
from kb.embed.probe import probe, spaces_at
from kb.embed.profile import EndpointProfile, forget, recall, remember
from kb.embed.results import EmbedderUsage, EmbeddingBatch
from kb.embed.sender import Sender
from kb.embed.space import EmbeddingSpace
from kb.embed.tokens import TokenCounter
from kb.embed.wire import bare_url
from kb.errors import EndpointModelError
from kb.types import Vector

__all__ = ["Embedder"]

logger = logging.getLogger(__name__)

# A model may be changed behind its name while an ingest runs: its canaries are asked again after this long.
RECHECK_SECONDS = 300.0
# After a new connection, behind which there may be another replica, already after this long. Only for what is written:
# a server that drops idle connections would make every question wait for two requests.
SETTLED_SECONDS = 2.0


class Embedder:
    """Thread-safe. Nothing is sent before the first use, which probes the endpoint."""

    def __init__(
        self, settings: EmbedderSettings, *, cache: EmbeddingCache | None = None, profile_folder: Path | None = None
    ) -> None:
        self._settings, self._cache, self._folder = settings, cache, profile_folder
        self._sender = Sender(settings)
        self._probing = threading.RLock()
        self._profile: EndpointProfile | None = None
        self._batches: Batches | None = None
        self._cache_space = ""
        self._checked_at = 0.0
        self._checked_recoveries = self._checked_connections = 0

    @property
    def profile(self) -> EndpointProfile:
        """What the endpoint is and can do. Raises EndpointError."""
        with self._probing:
            if self._profile is None:
                self._profile = self._probe()
            return self._profile

    def _probe(self) -> EndpointProfile:
        known = recall(self._folder, self._settings)
        profile = probe(self._settings, self._sender, known)
        if profile.traits != known:
            remember(self._folder, self._settings, profile.traits)
        self._checked_at, self._checked_recoveries = time.monotonic(), self._sender.recoveries
        self._checked_connections = self._sender.connections
        self._batches = Batches(self._settings, self._sender, profile, self._learn_batch)
        self._cache_space = self._cache.space_id(profile.space) if self._cache is not None else ""
        logger.info(
            "Embedder ready: %s at %s (%s), %d dimensions, at most %d tokens (%s)",
            profile.space.model,
            ", ".join(map(bare_url, self._settings.base_urls)),
            profile.kind or "unknown server",
            profile.space.dimension,
            profile.traits.max_tokens,
            profile.traits.max_tokens_from,
        )
        return profile

    def _learn_batch(self, most_texts: int) -> None:
        remember(self._folder, self._settings, replace(self.profile.traits, max_batch=most_texts))

    @property
    def space(self) -> EmbeddingSpace:
        """The endpoint's embedding space, as it was when it was last looked at. Raises EndpointError."""
        return self.profile.space

    @property
    def tokenizer(self) -> TokenCounter:
        """Counts tokens as the endpoint does. Raises EndpointError."""
        return self.profile.tokenizer

    @property
    def usage(self) -> EmbedderUsage:
        """What was sent so far."""
        return self._sender.usage

    def embed_query(self, text: str) -> Vector:
        """The unit vector of a question, float32 (dimension,). Raises EndpointError."""
        asked = _sendable(self._settings.query_prefix + text)
        _, batches = self._ready()
        known, keys = self._known([asked])
        if known[0] is not None:
            return known[0]
        vector = batches.embed_one(asked)
        self._check_space()
        if self._sender.connections == self._checked_connections:  # else the model may be another one by now
            self._keep({keys[0]: vector})
        return vector

    def embed_documents(
        self, texts: Sequence[str], *, tokens: Sequence[int] | None = None, stop: Callable[[], bool] = lambda: False
    ) -> EmbeddingBatch:
        """Unit vectors of passages (whose prefix they carry already). Raises EndpointError where none can be had.

        `tokens`, about as many as each has, need then not be counted again for the size of the requests. Once `stop`
        says so no further request is sent, and CancelledError is raised.
        """
        profile, batches = self._ready()
        texts = list(map(_sendable, texts))
        if self._cache is None and len(set(texts)) == len(texts):
            fresh, refused = batches.embed(texts, tokens, stop)
            self._check_space(for_writing=True)
            return EmbeddingBatch(fresh, refused)
        known, keys = self._known(texts)
        missing: dict[bytes, list[int]] = {}
        for place, (key, vector) in enumerate(zip(keys, known, strict=True)):
            if vector is None:
                missing.setdefault(key, []).append(place)
        firsts = [places[0] for places in missing.values()]
        fresh, refused = batches.embed(
            [texts[place] for place in firsts], None if tokens is None else [tokens[place] for place in firsts], stop
        )
        if missing:
            self._check_space(for_writing=True)
            self._keep({key: fresh[row] for row, key in enumerate(missing) if row not in refused})
        vectors = np.full((len(texts), profile.space.dimension), np.nan, np.float32)
        for place, vector in enumerate(known):
            if vector is not None:
                vectors[place] = vector
        failures: dict[int, EndpointModelError] = {}
        for row, places in enumerate(missing.values()):
            vectors[places] = fresh[row]
            failures |= dict.fromkeys(places, refused[row]) if row in refused else {}
        return EmbeddingBatch(vectors, failures)

    def _ready(self) -> tuple[EndpointProfile, Batches]:
        profile = self.profile
        assert self._batches is not None
        return profile, self._batches

    # --- the cache -----------------------------------------------------------------------------------------------

    def _known(self, texts: Sequence[str]) -> tuple[list[Vector | None], list[bytes]]:
        """The vectors of texts that the cache has, and every text's key."""
        if self._cache is None:  # what is the same text must be told all the same
            return [None] * len(texts), [text.encode() for text in texts]
        keys = [key_of(self._cache_space, text) for text in texts]
        dimension = self.space.dimension
        found = {key: vector for key, vector in self._cache.get(keys).items() if vector.shape == (dimension,)}
        known = [found.get(key) for key in keys]
        hits = sum(vector is not None for vector in known)
        self._sender.count(cache_hits=hits, cache_misses=len(texts) - hits)
        return known, keys

    def _keep(self, vectors: dict[bytes, Vector]) -> None:
        if self._cache is not None and vectors:
            self._cache.put(vectors)

    # --- the guard of the space ----------------------------------------------------------------------------------

    def _check_space(self, *, for_writing: bool = False) -> None:
        """Asks the canaries again after a failure of the server, on new connections, and from time to time.

        Raises EndpointModelError, before the vectors are handed out, where the endpoint gives other ones by now.
        """
        recoveries, connections = self._sender.recoveries, self._sender.connections
        age = time.monotonic() - self._checked_at
        reconnected = for_writing and connections != self._checked_connections and age >= SETTLED_SECONDS
        if recoveries == self._checked_recoveries and age < RECHECK_SECONDS and not reconnected:
            return
        profile = self.profile
        for url, now in spaces_at(self._settings, self._sender, profile.form).items():
            difference = profile.space.difference(now)
            if difference is not None:
                forget(self._folder, self._settings)
                raise EndpointModelError(
                    f"the model was changed while it was in use: {difference}",
                    where=bare_url(url),
                    fix="Serve the former model again, or run kb migrate.",
                )
        self._checked_at, self._checked_recoveries = time.monotonic(), recoveries
        self._checked_connections = connections

    def close(self) -> None:
        """Closes connections and cache; requests that wait for a retry end."""
        if self._batches is not None:
            self._batches.close()
        self._sender.close()
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sendable(text: str) -> str:
    """The text as it can be sent: halves of surrogate pairs, as broken PDFs have them, become question marks."""
    return text.encode("utf-8", "replace").decode()
