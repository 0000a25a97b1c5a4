"""Words are indexed while an ingest still reads: its end is short, and a search meanwhile looks through few rows."""

from __future__ import annotations

import logging
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


class IndexingAhead:
    """Indexes what was committed, in a thread of its own, once enough has come together."""

    def __init__(self, store: Store, clock: BusyClock, threads: ThreadPoolExecutor) -> None:
        self._store = store
        self._clock = clock
        self._threads = threads
        self._under_way: Future[None] | None = None
        self._indexed = store.chunk_count
        self._fresh = 0

    def wrote(self, chunks: int) -> None:
        """So many were committed."""
        self._fresh += chunks
        if self._fresh >= max(LEAST, self._indexed) and (self._under_way is None or self._under_way.done()):
            self._indexed, self._fresh = self._indexed + self._fresh, 0
            self._under_way = self._threads.submit(self._index)

    def _index(self) -> None:
        with self._clock.busy("index"):
            try:
                self._store.index_words()
            except StoreError as error:  # a commit came between, or the disk is full: the end tries again and says so
                logger.debug("Indexing ahead: %s", error)


@contextmanager
def indexing_ahead(store: Store, clock: BusyClock) -> Iterator[IndexingAhead]:
    """Leaving the block waits for the indexing that is under way."""
    with ThreadPoolExecutor(1, thread_name_prefix="kb-index") as threads:
        yield IndexingAhead(store, clock, threads)
