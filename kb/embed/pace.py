"""How many requests are under way at once: more while that brings throughput, fewer at once when the server is full."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Pace"]

FIRST_LIMIT = 2
# A step up must bring 5 % more texts a second to be followed by another; noise on a shared machine is about that.
WORTH_GROWING = 1.05
WORTH_SHRINKING = 0.85


class Pace:
    """A limit between 1 and `most` that climbs with the measured throughput. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = min(FIRST_LIMIT, most)
        self._under_way = 0
        self._free = threading.Condition()
        self._window_started = time.monotonic()
        self._window_texts = 0
        self._window_requests = 0
        self._window_full = False
        self._last_rate = 0.0

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return self._limit

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Waits until one more request may go out."""
        with self._free:
            self._free.wait_for(lambda: self._under_way < self._limit)
            self._under_way += 1
            self._window_full = self._window_full or self._under_way >= self._limit
        try:
            yield
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
            seconds = max(time.monotonic() - self._window_started, 1e-6)
            rate = self._window_texts / seconds
            if self._window_full:  # a window in which nobody waited says nothing of what the server could do
                if rate >= self._last_rate * WORTH_GROWING:
                    self._limit = min(self._most, self._limit + 1)
                elif rate < self._last_rate * WORTH_SHRINKING:
                    self._limit = max(1, self._limit - 1)
                self._last_rate = rate
            self._begin_window()
            self._free.notify_all()

    def overloaded(self) -> None:
        """The server said it has too much to do (429, 503, no answer in time): halve at once."""
        with self._free:
            self._limit = max(1, self._limit // 2)
            self._last_rate = 0.0
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_started = time.monotonic()
        self._window_texts = self._window_requests = 0
        self._window_full = False
