"""The queue of a model: texts of all requests, in batches of a token budget, sorted by length, one forward at a time.

There is no timer: a batch is formed the moment the model is free, of what waits then, so a lone request never waits
and a busy server fills its batches by itself. Small requests go before bulk ones; once a bulk request
has waited long, the two lanes take turns, so that neither starves.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.metrics import Metrics

__all__ = ["Batcher", "Work"]

logger = logging.getLogger(__name__)

Forward = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]

# A question is one text or a few; what is longer in texts or tokens is somebody's ingest.
INTERACTIVE_TEXTS = 4
INTERACTIVE_TOKENS = 1_024
STARVING_SECONDS = 2.0
# How much of the queue is looked at to put texts of like length together.
SORT_WINDOW_BATCHES = 4
# Padded tokens to real ones; small batches may have more, for a batch of its own costs more than its padding.
MOST_PADDING = 1.15
# For the first estimates of waiting time, before anything was measured.
FIRST_TOKENS_PER_SECOND = 2_000.0


@dataclass(slots=True, eq=False)
class Work:
    """The texts of one request: token ids in, vectors out by way of the future."""

    ids: Sequence[Sequence[int]]
    future: asyncio.Future[NDArray[np.float32]]
    loop: asyncio.AbstractEventLoop
    queued_at: float = field(default_factory=time.monotonic)
    rows: list[NDArray[np.float32] | None] = field(default_factory=list)
    left: int = 0

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def interactive(self) -> bool:
        return len(self.ids) <= INTERACTIVE_TEXTS and self.tokens <= INTERACTIVE_TOKENS


Item = tuple[Work, int]  # a text: its request and its place in it


class Batcher:
    """Owns the model's thread. `submit` is called on the event loop; everything else happens in the thread."""

    def __init__(self, forward: Forward, *, max_batch_tokens: int, metrics: Metrics, name: str) -> None:
        self._forward = forward
        self._budget = max_batch_tokens
        self._metrics = metrics
        self._name = name
        self._ready = threading.Condition()
        self._interactive: deque[Item] = deque()
        self._bulk: deque[Item] = deque()
        self._bulk_was_first = False
        self._closing = False
        self._tokens_per_second = FIRST_TOKENS_PER_SECOND
        self.queued_tokens = 0
        self.last_progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"model-{name}", daemon=True)
        self._thread.start()

    def submit(self, ids: Sequence[Sequence[int]]) -> asyncio.Future[NDArray[np.float32]]:
        """Vectors of one request's texts, later. Cancelling it takes those that have not started out of the queue."""
        loop = asyncio.get_running_loop()
        work = Work(ids, loop.create_future(), loop, rows=[None] * len(ids), left=len(ids))
        with self._ready:
            lane = self._interactive if work.interactive else self._bulk
            lane.extend((work, index) for index in range(len(ids)))
            self.queued_tokens += work.tokens
            self._ready.notify()
        return work.future

    @property
    def seconds_of_queue(self) -> float:
        """How long what waits will take, at the rate measured last."""
        return self.queued_tokens / self._tokens_per_second

    @property
    def is_stuck(self) -> bool:
        """Whether work waits but the thread is dead."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Ends the thread after what is queued."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._embed_batch(batch)
            except BaseException as error:  # the thread must outlive whatever happens to a batch
                logger.exception("A batch failed")
                _fail(batch, error)

    def _next_batch(self) -> list[Item] | None:
        """What to run next, waiting for it; None when closing and nothing is left."""
        while True:
            with self._ready:
                while not (self._interactive or self._bulk):
                    if self._closing:
                        return None
                    self._ready.wait()
                batch = self._take()
            if batch:
                return batch

    def _take(self) -> list[Item]:
        """Texts up to the budget of padded tokens, the longest together; abandoned ones are dropped on the way."""
        starving = bool(self._bulk) and time.monotonic() - self._bulk[0][0].queued_at > STARVING_SECONDS
        bulk_first = starving and not self._bulk_was_first  # in turn, so that neither lane starves
        self._bulk_was_first = bulk_first
        lanes = (self._bulk, self._interactive) if bulk_first else (self._interactive, self._bulk)
        window: list[Item] = []
        tokens = 0
        for lane in lanes:
            while lane and tokens < self._budget * SORT_WINDOW_BATCHES:
                work, index = lane.popleft()
                size = len(work.ids[index])
                if work.future.cancelled():
                    self.queued_tokens -= size
                    self._metrics.cancelled.inc()
                    continue
                window.append((work, index))
                tokens += size
            if window:
                break  # a question is not padded to the length of a bulk text
        return self._cut(window)

    def _cut(self, window: list[Item]) -> list[Item]:
        if not window:
            return []
        oldest = window[0]
        window.sort(key=lambda item: len(item[0].ids[item[1]]))
        # The batch is a run of the sorted window that holds the oldest text, so that none waits for ever.
        start = end = window.index(oldest)
        lengths = [len(work.ids[index]) for work, index in window]
        while True:
            longer = end + 1 < len(window) and self._fits(lengths[start : end + 2])
            end += longer
            shorter = start > 0 and self._fits(lengths[start - 1 : end + 1])
            start -= shorter
            if not (longer or shorter):
                break
        batch = window[start : end + 1]
        rest = window[:start] + window[end + 1 :]
        lane = self._interactive if batch[0][0].interactive else self._bulk
        lane.extendleft(sorted(rest, key=lambda item: item[0].queued_at, reverse=True))
        self.queued_tokens -= sum(len(work.ids[index]) for work, index in batch)
        return batch

    def _fits(self, lengths: list[int]) -> bool:
        """Whether texts of these ascending lengths make a batch: within the budget, and with little padding."""
        padded = lengths[-1] * len(lengths)
        return padded <= self._budget and (padded <= MOST_PADDING * sum(lengths) or padded <= self._budget // 16)

    def _embed_batch(self, batch: list[Item]) -> None:
        ids = [work.ids[index] for work, index in batch]
        started = time.monotonic()
        for work, _ in batch:
            self._metrics.queue_seconds.observe(started - work.queued_at)
        vectors = self._embed_or_split(ids)
        seconds = time.monotonic() - started
        self.last_progress = time.monotonic()
        real, padded = sum(map(len, ids)), max(map(len, ids)) * len(ids)
        self._tokens_per_second += 0.2 * (real / max(seconds, 1e-6) - self._tokens_per_second)
        self._metrics.observe_batch(len(ids), real, padded, seconds)
        self._deliver(batch, vectors)

    def _embed_or_split(self, ids: list[Sequence[int]]) -> list[NDArray[np.float32] | BaseException]:
        """A vector or an error for each text. Memory that runs out halves the budget; one bad text fails alone."""
        try:
            return list(self._forward(ids))
        except Exception as error:
            if _is_out_of_memory(error):
                self._budget = max(self._budget // 2, 512)
                self._metrics.oom_retries.inc()
                logger.warning("%s: out of memory, batches are now of %d tokens", self._name, self._budget)
            if len(ids) == 1:
                return [error]
            half = len(ids) // 2
            return self._embed_or_split(ids[:half]) + self._embed_or_split(ids[half:])

    def _deliver(self, batch: list[Item], vectors: list[NDArray[np.float32] | BaseException]) -> None:
        finished: dict[asyncio.AbstractEventLoop, list[Work]] = {}
        for (work, index), vector in zip(batch, vectors, strict=True):
            if isinstance(vector, BaseException):
                _fail([(work, index)], vector)
                continue
            work.rows[index] = vector
            work.left -= 1
            if work.left == 0:
                finished.setdefault(work.loop, []).append(work)
        for loop, works in finished.items():
            loop.call_soon_threadsafe(_finish, works)


def _finish(works: list[Work]) -> None:
    for work in works:
        if not work.future.done():
            work.future.set_result(np.stack([row for row in work.rows if row is not None]))


def _fail(batch: list[Item], error: BaseException) -> None:
    def set_errors(works: list[Work]) -> None:
        for work in works:
            if not work.future.done():
                work.future.set_exception(error if isinstance(error, Exception) else RuntimeError(str(error)))

    for loop in {work.loop for work, _ in batch}:
        loop.call_soon_threadsafe(set_errors, list({id(work): work for work, _ in batch if work.loop is loop}.values()))


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate" in str(error)
