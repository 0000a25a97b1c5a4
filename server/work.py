"""The texts of one request on their way through a queue, and where its time went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Item", "Timings", "Work", "fail", "finish", "place"]

# A question is one text or a few; what is longer in texts or tokens is somebody's ingest.
INTERACTIVE_TEXTS = 4
INTERACTIVE_TOKENS = 1_024


@dataclass(slots=True)
class Timings:
    """Where a request's time went, in seconds; its texts wait and run in several batches, of which all count."""

    arrived: float = field(default_factory=time.monotonic)
    tokenize: float = 0.0
    queue: float = 0.0
    forward: float = 0.0
    lane: str = ""  # which queue it waited in; none for what never came so far

    @property
    def milliseconds(self) -> dict[str, float]:
        """The same for people."""
        parts = {"tokenize": self.tokenize, "queue": self.queue, "forward": self.forward}
        return {name: round(1000 * seconds, 1) for name, seconds in parts.items()}

    def header(self, total: float) -> str:
        """As the header Server-Timing has it."""
        parts = self.milliseconds | {"total": round(1000 * total, 1)}
        return ", ".join(f"{name};dur={value}" for name, value in parts.items())


@dataclass(slots=True, eq=False)
class Work:
    """The texts of one request: token ids in, vectors out by way of the future."""

    ids: Sequence[Sequence[int]]
    future: asyncio.Future[NDArray[np.float32]]
    loop: asyncio.AbstractEventLoop
    timings: Timings
    queued_at: float = field(default_factory=time.monotonic)
    rows: list[NDArray[np.float32] | None] = field(init=False)
    waiting: int = field(init=False)  # texts in the queue
    left: int = field(init=False)  # texts without a vector
    tokens: int = field(init=False)
    interactive: bool = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = self.left = len(self.ids)
        self.rows = [None] * len(self.ids)
        self.tokens = sum(map(len, self.ids))
        self.interactive = len(self.ids) <= INTERACTIVE_TEXTS and self.tokens <= INTERACTIVE_TOKENS
        self.timings.lane = "interactive" if self.interactive else "bulk"


Item = tuple[Work, int]  # a text: its request and its place in it


def place(item: Item) -> tuple[float, int]:
    """Where a text stands in a queue: requests as they came, the texts of one from the longest to the shortest, so that
    what runs together is of like length, however many texts there are."""
    work, index = item
    return work.queued_at, -len(work.ids[index])


def finish(works: Sequence[Work]) -> None:
    """Gives requests their vectors; on their event loop."""
    for work in works:
        if not work.future.done():
            work.future.set_result(np.stack([row for row in work.rows if row is not None]))


def fail(batch: Sequence[Item], error: BaseException) -> None:
    """Ends the requests of these texts with an error; from any thread."""

    def set_errors(works: list[Work]) -> None:
        for work in works:
            if not work.future.done():
                work.future.set_exception(error if isinstance(error, Exception) else RuntimeError(str(error)))

    for loop in {work.loop for work, _ in batch}:
        loop.call_soon_threadsafe(set_errors, list({id(work): work for work, _ in batch if work.loop is loop}.values()))
