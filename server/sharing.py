"""One request over several replicas of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.batching import Batcher
from server.work import Timings

__all__ = ["share"]

Vectors = NDArray[np.float32]


def share(
    ids: Sequence[Sequence[int]], batchers: Sequence[Batcher], timings: Timings
) -> asyncio.Future[NDArray[np.float32]]:
    """Vectors of all texts, later, in their order; each replica gets texts of every length. A failure of one share is
    that of the request, and once the future is done the shares that have not started are dropped."""
    by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    shares = [by_length[number :: len(batchers)] for number in range(len(batchers))]
    spent = [Timings() for _ in batchers]
    parts = [
        batcher.submit([ids[index] for index in indexes], its_timings)
        for batcher, indexes, its_timings in zip(batchers, shares, spent, strict=True)
    ]
    timings.lane = spent[0].lane
    whole: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()

    def part_is_done(part: asyncio.Future[Vectors]) -> None:
        error = None if part.cancelled() else part.exception()  # asked for in any case, else asyncio complains
        if whole.done():
            return
        if part.cancelled():
            whole.cancel()
        elif error is not None:
            whole.set_exception(error)
        elif all(other.done() for other in parts):
            timings.queue = max(its_timings.queue for its_timings in spent)
            timings.forward = max(its_timings.forward for its_timings in spent)
            whole.set_result(_in_order(shares, [other.result() for other in parts]))

    def whole_is_done(_: asyncio.Future[Vectors]) -> None:
        for part in parts:
            part.cancel()

    for part in parts:
        part.add_done_callback(part_is_done)
    whole.add_done_callback(whole_is_done)
    return whole


def _in_order(shares: Sequence[Sequence[int]], parts: Sequence[Vectors]) -> Vectors:
    vectors = np.empty((sum(map(len, shares)), parts[0].shape[1]), np.float32)
    for indexes, part in zip(shares, parts, strict=True):
        vectors[indexes] = part
    return vectors
