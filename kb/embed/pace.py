"""How many requests are under way at once: more while that brings throughput, fewer at once when the server is full."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Pace"]

FIRST_LIMIT = 2
# A step up goes by half of the limit. It is kept if it brings this share of what it would bring at best: then even a
# small gain of a large fleet counts, and the noise of a shared machine (about 5 % of a window) does not.
WORTH_GROWING = 0.3
# A step that brought nothing is tried again after so many windows: the server may have got company, or lost some.
RESTING_WINDOWS = 8


class Pace:
    """A limit between 1 and `most` that climbs with the measured throughput. Thread-safe."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._limit = self._proven = min(FIRST_LIMIT, most)  # `proven`: the largest that was worth it
        self._proven_rate = 0.0
        self._resting = 0
        self._under_way = 0
        self._cuts = 0
        self._free = threading.Condition()
        self._window_full = False
        self._begin_window()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return self._limit

    @contextmanager
    def slot(self) -> Iterator[int]:
        """Waits until one more request may go out; gives what `overloaded` wants to know of it."""
        with self._free:
            self._free.wait_for(lambda: self._under_way < self._limit)
            self._under_way += 1
            self._window_full = self._window_full or self._under_way >= self._limit
            begun = self._cuts
        try:
            yield begun
        finally:
            with self._free:
                self._under_way -= 1
                self._free.notify_all()

    def answered(self, texts: int) -> None:
        """A request of `texts` texts was answered: after a window of them, climb or step back."""
        with self._free:
            self._window_texts += texts
            self._window_requests += 1
            if self._window_requests < 2 * self._limit:
                return
            if self._window_full:  # a window in which nobody waited says nothing of what the server could do
                self._judge(self._window_texts / max(self._clock() - self._window_started, 1e-6))
            self._begin_window()
            self._free.notify_all()

    def _judge(self, rate: float) -> None:
        growth = self._limit / self._proven - 1
        if growth > 0 and rate < self._proven_rate * (1 + WORTH_GROWING * growth):
            self._limit, self._resting = self._proven, RESTING_WINDOWS
            return
        self._proven, self._proven_rate = self._limit, rate
        self._resting -= 1
        if self._resting <= 0:
            self._limit = min(self._most, self._limit + max(1, self._limit // 2))

    def overloaded(self, begun: int) -> None:
        """The server had too much to do for a request (429, 503, no answer in time): halve, at once.

        Once for all requests that were under way together: `begun` is what `slot` gave for this one.
        """
        with self._free:
            if begun < self._cuts:
                return
            self._cuts += 1
            self._limit = self._proven = max(1, self._limit // 2)
            self._proven_rate, self._resting = 0.0, RESTING_WINDOWS // 2
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_started = self._clock()
        self._window_texts = self._window_requests = 0
        self._window_full = False
