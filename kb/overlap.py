"""Stages that overlap: each runs in its own thread and hands on through a bounded queue, so memory does not grow."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["overlapped"]

T = TypeVar("T")

TICK_SECONDS = 0.2


@contextmanager
def overlapped(items: Iterable[T], *, depth: int, tick: Callable[[], None] = lambda: None) -> Iterator[Iterator[T]]:
    """`items` produced ahead in a thread, at most `depth` of them waiting; what it raises is raised here.

    `tick` is called in the consuming thread now and then, also while it waits. Leaving the block, also by an
    exception, stops the thread after the item it is at.
    """
    ahead = _Ahead(items, depth)
    try:
        yield ahead.results(tick)
    finally:
        ahead.stop()


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kb-overlap", daemon=True)
        self._thread.start()

    def results(self, tick: Callable[[], None]) -> Iterator[T]:
        while True:
            try:
                item = self._queue.get(timeout=TICK_SECONDS)
            except queue.Empty:
                tick()
                continue
            if isinstance(item, _End):
                break
            yield item
            tick()
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        self._stopping.set()
        while self._thread.is_alive():
            try:  # makes room, so that a thread that waits to put sees that it is over
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _run(self) -> None:
        end = _End()
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stopping.is_set():
                    break
        except BaseException as error:
            end = _End(error)
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._queue.put(end)
