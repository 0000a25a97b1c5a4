"""The queue of a model: texts of all requests, in batches of a token budget, one forward at a time.

There is no timer: a batch is formed the moment the model is free, of what waits then, so a lone request never waits
and a busy server fills its batches by itself. Small requests go before bulk ones; once a bulk request
has waited long, the two lanes take turns, so that neither starves.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from server.failures import is_beyond_repair, is_out_of_memory
from server.metrics import Metrics
from server.work import Item, Timings, Work, fail, finish, place

__all__ = ["LEAST_BUDGET", "Batcher", "Forward"]

logger = logging.getLogger(__name__)

Forward = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]

STARVING_SECONDS = 2.0
# How much of the queue is looked at to put texts of like length together, where batches are padded.
SORT_WINDOW_BATCHES = 8
# Padded tokens to real ones; small batches may have more.
MOST_PADDING = 1.15
# Clients that were just answered often ask again at once. For so much of the last forward pass they are waited for,
# unless a batch is full: one batch of all costs less than two by turns (all-MiniLM-L6-v2 on 2 cores, 32 clients with a
# short text each: 977 texts/s instead of 684). Bulk requests gain nothing by it: each is a batch, or much of one.
PATIENCE = 0.5
# For the first estimates of waiting time, before anything was measured.
FIRST_TOKENS_PER_SECOND = 2_000.0

# Memory that runs out halves the budget down to this.
LEAST_BUDGET = 512
# A batch that takes this many times what it should, and at least so long, will not come back.
STUCK_FACTOR = 10
STUCK_SECONDS = 10.0


class Batcher:
    """Owns the model's thread. `submit` is called on the event loop; everything else happens in the thread."""

    def __init__(
        self,
        forward: Forward,
        *,
        max_batch_tokens: int,
        metrics: Metrics,
        name: str,
        pads: bool = True,
        begin: Callable[[], None] | None = None,
    ) -> None:
        """`pads`: whether texts take the time of the longest of their batch. `begin` is called in the thread."""
        self._forward = forward
        self._pads = pads
        self._begin = begin
        self.budget = max_batch_tokens
        self._metrics = metrics
        self._name = name
        self._ready = threading.Condition()
        self._interactive: deque[Item] = deque()
        self._bulk: deque[Item] = deque()
        self._bulk_was_first = False
        self._closing = False
        self._wanted = 1  # texts in the queue that are worth waking up for
        self._expected = 1  # texts that were there when the last batch ran: its own, and those in the queue
        self._patient_until = 0.0
        self.tokens_per_second = FIRST_TOKENS_PER_SECOND
        self.queued_tokens = 0
        self.queued_requests = 0
        self._running_tokens = 0
        self._late_at = math.inf  # when the batch that runs now has taken too long
        self._broken = False
        self._thread = threading.Thread(target=self._run, name=f"model-{name}", daemon=True)
        self._thread.start()

    def submit(
        self, ids: Sequence[Sequence[int]], timings: Timings | None = None
    ) -> asyncio.Future[NDArray[np.float32]]:
        """Vectors of one request's texts, later. Once the future is done, by a cancel or an exception from outside,
        those that have not started are dropped."""
        loop = asyncio.get_running_loop()
        work = Work(ids, loop.create_future(), loop, timings or Timings())
        items = sorted(((work, index) for index in range(len(ids))), key=place)
        with self._ready:
            (self._interactive if work.interactive else self._bulk).extend(items)
            self.queued_tokens += work.tokens
            self.queued_requests += 1
            if self._is_worth_running:
                self._ready.notify()
        return work.future

    @property
    def seconds_of_queue(self) -> float:
        """How long what waits will take, at the rate measured last."""
        return self.queued_tokens / self.tokens_per_second

    @property
    def seconds_until_free(self) -> float:
        """The same with the batch that runs now."""
        return (self.queued_tokens + self._running_tokens) / self.tokens_per_second

    @property
    def oldest_queued_seconds(self) -> float:
        """How long the text that waits longest has waited."""
        with self._ready:
            firsts = [lane[0][0].queued_at for lane in (self._interactive, self._bulk) if lane]
        return time.monotonic() - min(firsts) if firsts else 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether the thread is dead, hangs in a batch, or has a device that will not come back."""
        return self._broken or time.monotonic() > self._late_at or not self._thread.is_alive()

    def close(self) -> None:
        """Ends the thread after what is queued."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()

    def _run(self) -> None:
        if self._begin:
            self._begin()
        while (batch := self._next_batch()) is not None:
            try:
                self._embed_batch(batch)
            except BaseException as error:  # the thread must outlive whatever happens to a batch
                logger.exception("A batch failed")
                fail(batch, error)

    def _next_batch(self) -> list[Item] | None:
        """What to run next, waiting for it; None when closing and nothing is left."""
        while True:
            with self._ready:
                self._wait_for_texts()
                if not (self._interactive or self._bulk):
                    return None
                batch = self._take()
            if batch:
                return batch

    def _wait_for_texts(self) -> None:
        """Until there is something to run or the end has come; a little longer for as many texts as there were."""
        self._wanted = self._expected
        while not (self._closing or self._is_worth_running):
            seconds = self._patient_until - time.monotonic()
            if seconds > 0:
                self._ready.wait(seconds)
            elif self._wanted > 1:
                self._wanted = 1
            else:
                self._ready.wait()

    @property
    def _is_worth_running(self) -> bool:
        return len(self._interactive) + len(self._bulk) >= self._wanted or self.queued_tokens >= self.budget

    def _take(self) -> list[Item]:
        """Texts up to the budget, in their order, or those of like length; abandoned ones are dropped on the way."""
        starving = bool(self._bulk) and time.monotonic() - self._bulk[0][0].queued_at > STARVING_SECONDS
        bulk_first = starving and not self._bulk_was_first  # in turn, so that neither lane starves
        self._bulk_was_first = bulk_first
        lanes = (self._bulk, self._interactive) if bulk_first else (self._interactive, self._bulk)
        for lane in lanes:  # not both at once: a question does not wait for bulk texts to be computed
            if self._pads:
                batch = self._cut(self._first(lane, self.budget * SORT_WINDOW_BATCHES))
            else:
                batch = self._first(lane, self.budget)
                self._leave(batch)
            if batch:
                return batch
        return []

    def _first(self, lane: deque[Item], most_tokens: int) -> list[Item]:
        """Takes texts of so many tokens, at least one, from a lane."""
        found: list[Item] = []
        tokens = 0
        while lane and (not found or tokens + _length(lane[0]) <= most_tokens):
            item = lane.popleft()
            if item[0].future.done():  # nobody waits for it any more
                self._leave([item])
                self._metrics.cancelled.labels("queue").inc()
                continue
            found.append(item)
            tokens += _length(item)
        return found

    def _cut(self, window: list[Item]) -> list[Item]:
        """Texts of like length; the others go back."""
        if not window:
            return []
        oldest = window[0]
        window.sort(key=_length)
        # The batch is a run of the sorted window that holds the oldest text, so that none waits for ever.
        start = end = window.index(oldest)
        lengths = [_length(item) for item in window]
        real = lengths[start]
        while True:
            longer = end + 1 < len(window) and self._fits(lengths[end + 1], end + 2 - start, real + lengths[end + 1])
            if longer:
                end += 1
                real += lengths[end]
            shorter = start > 0 and self._fits(lengths[end], end + 2 - start, real + lengths[start - 1])
            if shorter:
                start -= 1
                real += lengths[start]
            if not (longer or shorter):
                break
        batch = window[start : end + 1]
        rest = window[:start] + window[end + 1 :]
        lane = self._interactive if batch[0][0].interactive else self._bulk
        lane.extendleft(sorted(rest, key=place, reverse=True))
        self._leave(batch)
        return batch

    def _leave(self, items: list[Item]) -> None:
        for work, index in items:
            self.queued_tokens -= len(work.ids[index])
            work.waiting -= 1
            self.queued_requests -= work.waiting == 0

    def _fits(self, longest: int, texts: int, real: int) -> bool:
        """Whether texts of so many real tokens make a batch: within the budget, and with little padding."""
        padded = longest * texts
        return padded <= self.budget and (padded <= MOST_PADDING * real or padded <= self.budget // 4)

    def _embed_batch(self, batch: list[Item]) -> None:
        ids = [work.ids[index] for work, index in batch]
        works = dict.fromkeys(work for work, _ in batch)
        real, padded = sum(map(len, ids)), self._computed(ids)
        started = time.monotonic()
        for work in works:
            work.timings.queue = started - work.queued_at - work.timings.forward
        self._running_tokens = real
        self._late_at = started + max(STUCK_SECONDS, STUCK_FACTOR * padded / self.tokens_per_second)
        vectors = self._embed_or_split(ids)
        self._late_at = math.inf
        self._running_tokens = 0
        seconds = time.monotonic() - started
        for work in works:
            work.timings.forward += seconds
        # A lone question takes the time of a forward pass for few tokens, and says little of the rate.
        weight = 0.2 * min(1.0, padded / self.budget)
        self.tokens_per_second += weight * (real / max(seconds, 1e-6) - self.tokens_per_second)
        is_small = batch[0][0].interactive and not self._bulk
        self._expected = len(batch) + len(self._interactive) if is_small else 1
        self._patient_until = time.monotonic() + PATIENCE * seconds
        self._deliver(batch, vectors)  # before the metrics: somebody waits for it
        self._metrics.observe_batch(len(ids), real, padded, seconds)

    def _computed(self, ids: Sequence[Sequence[int]]) -> int:
        """Tokens that the model computes for a batch, real ones and padding."""
        return max(map(len, ids)) * len(ids) if self._pads else sum(map(len, ids))

    def _embed_or_split(self, ids: list[Sequence[int]]) -> list[NDArray[np.float32] | BaseException]:
        """A vector or an error for each text. Memory that runs out halves the budget; one bad text fails alone."""
        try:
            return _finite(self._forward(ids))
        except Exception as caught:
            # The frames in its traceback hold what the batch had in memory, which the next try needs.
            error = caught if len(ids) == 1 else caught.with_traceback(None)
        if is_out_of_memory(error) and len(ids) > 1:
            # Of this batch, not of the budget: the halves of a batch may fail one after the other.
            self.budget = max(min(self.budget, self._computed(ids) // 2), LEAST_BUDGET)
            self._metrics.oom_retries.inc()
            logger.warning("%s: out of memory, batches are now of %d tokens", self._name, self.budget)
        if is_beyond_repair(error):
            self._broken = True
            logger.error("%s: the device has failed, and the process must be started again: %s", self._name, error)
            return [error] * len(ids)
        if len(ids) == 1:
            return [error]
        half = len(ids) // 2
        return self._embed_or_split(ids[:half]) + self._embed_or_split(ids[half:])

    def _deliver(self, batch: list[Item], vectors: list[NDArray[np.float32] | BaseException]) -> None:
        finished: dict[asyncio.AbstractEventLoop, list[Work]] = {}
        for (work, index), vector in zip(batch, vectors, strict=True):
            if work.future.done():
                self._metrics.cancelled.labels("forward").inc()
                continue
            if isinstance(vector, BaseException):
                fail([(work, index)], vector)
                continue
            work.rows[index] = vector
            work.left -= 1
            if work.left == 0:
                finished.setdefault(work.loop, []).append(work)
        for loop, works in finished.items():
            loop.call_soon_threadsafe(finish, works)


def _length(item: Item) -> int:
    work, index = item
    return len(work.ids[index])


def _finite(vectors: NDArray[np.float32]) -> list[NDArray[np.float32] | BaseException]:
    """The rows; an error in place of one that overflowed, as float16 may, for JSON would make nulls of its numbers."""
    return [
        row if np.isfinite(row).all() else ValueError("the model made NaN or infinity of a text; try another --dtype")
        for row in vectors
    ]
