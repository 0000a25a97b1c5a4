"""Rows are indexed while an ingest still reads: its end is short, and searches during a long one find them indexed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from kb.errors import StoreError
from kb.report import BusyClock
from kb.store import Store

__all__ = ["IndexingAhead", "indexing_ahead"]

logger = logging.getLogger(__name__)

# Passages not indexed yet for which it is worth while: so many, and no fewer than are indexed, for what is new is
# merged into what is there. All of a large ingest is then merged no more than twice.
LEAST = 4_000
# It takes a core that others need, so a short ingest does it once, when no more than this share is left to read ...
LAST_SHARE = 0.3
# ... and a long one so often at most, for those who search meanwhile.
SECONDS = 60.0


class IndexingAhead:
    """Indexes what was committed, in a thread of its own, once enough has come together."""

    def __init__(self, store: Store, clock: BusyClock, threads: ThreadPoolExecutor) -> None:
        self._store = store
        self._clock = clock
        self._threads = threads
        self._under_way: Future[None] | None = None
        self._indexed = store.chunk_count
        self._fresh = 0
        self._rested = time.monotonic()  # since then
        self._is_last = False

    def is_due(self, held: int, left: float) -> bool:
        """Whether it is time once `held` passages are committed, where this share of the bytes is left to read."""
        if self._fresh + held < max(LEAST, self._indexed):
            return False
        if self._is_last or not (self._under_way is None or self._under_way.done()):
            return False
        return left <= LAST_SHARE or time.monotonic() - self._rested >= SECONDS

    def wrote(self, chunks: int, left: float) -> None:
        """So many were committed."""
        if self.is_due(chunks, left):
            self._indexed, self._fresh = self._indexed + self._fresh + chunks, 0
            self._is_last = left <= LAST_SHARE
            self._under_way = self._threads.submit(self._index, last=self._is_last)
        else:
            self._fresh += chunks

    def _index(self, *, last: bool) -> None:
        with self._clock.busy("index"):
            try:
                self._store.index_ahead(last=last)
            except StoreError as error:  # a commit came between, or the disk is full: the end tries again and says so
                logger.debug("Indexing ahead: %s", error)
        self._rested = time.monotonic()


@contextmanager
def indexing_ahead(store: Store, clock: BusyClock) -> Iterator[IndexingAhead]:
    """Leaving the block waits for the indexing that is under way."""
    with ThreadPoolExecutor(1, thread_name_prefix="kb-index") as threads:
        yield IndexingAhead(store, clock, threads)
