"""Long work behind a panel: in a thread, while widgets are touched by the kernel's own loop alone.

With ipykernel 7 a worker thread must not touch a widget (jupyter-widgets/ipywidgets#4001, #4020).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["in_background", "start"]

T = TypeVar("T")

REFRESH_SECONDS = 0.2

_running: set[asyncio.Task[None]] = set()


def start(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine on the kernel's loop, from a button's handler."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)  # the loop itself keeps only a weak reference
    task.add_done_callback(_running.discard)


async def in_background(work: Callable[[], T], refresh: Callable[[], None] = lambda: None) -> T:
    """The result of `work`, done in a thread; `refresh` is called now and then on the loop meanwhile."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    while not future.done():
        refresh()
        await asyncio.wait([future], timeout=REFRESH_SECONDS)
    refresh()
    return future.result()
