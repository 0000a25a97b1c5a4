"""The texts of one request on their way through a queue, and where its time went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

__all__ = ["Item", "Timings", "Work"]

# A question is one text or a few; what is longer in texts or tokens is somebody's ingest.
INTERACTIVE_TEXTS = 4
INTERACTIVE_TOKENS = 1_024


@dataclass(slots=True)
class Timings:
    """Where a request's time went, in seconds; its texts wait and run in several batches, of which all count."""

    tokenize: float = 0.0
    queue: float = 0.0
    forward: float = 0.0

    @property
    def milliseconds(self) -> dict[str, float]:
        """The same for people."""
        return {f.name: round(1000 * float(getattr(self, f.name)), 1) for f in fields(self)}

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


Item = tuple[Work, int]  # a text: its request and its place in it
