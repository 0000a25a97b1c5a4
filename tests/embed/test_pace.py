"""How many requests are under way: more while it pays, fewer at once when the server has too much to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from kb.embed.pace import FIRST_LIMIT, Pace


class Server:
    """Answers `rate(n)` requests a second where n are under way, by a clock of its own; `seen` are the limits."""

    def __init__(self, most: int, rate: Callable[[int], float]) -> None:
        self.now, self.rate, self.seen = 0.0, rate, [FIRST_LIMIT]
        self.pace = Pace(most, clock=lambda: self.now)

    def work(self, windows: int) -> Pace:
        for _ in range(windows):
            under_way = self.pace.limit
            with ExitStack() as slots:
                for _ in range(under_way):
                    slots.enter_context(self.pace.slot())
            for _ in range(2 * under_way):
                self.now += 1 / self.rate(under_way)
                self.pace.answered(1)
            self.seen.append(self.pace.limit)
        return self.pace


def test_it_climbs_while_throughput_grows() -> None:
    assert Server(8, lambda under_way: under_way).work(6).limit == 8


def test_it_climbs_to_what_a_large_fleet_needs() -> None:
    assert Server(64, lambda under_way: under_way).work(11).limit == 64


@pytest.mark.parametrize("enough", [1, 4, 10])
def test_it_stays_near_what_brings_something(enough: int) -> None:
    server = Server(64, lambda under_way: min(under_way, enough))
    server.work(50)
    assert max(server.seen) <= max(3, 2 * enough)
    assert sorted(server.seen)[25] <= max(FIRST_LIMIT, enough * 1.5)


def test_it_follows_a_server_that_gets_company() -> None:
    server = Server(64, lambda under_way: min(under_way, 4))
    server.work(20)
    server.rate = lambda under_way: min(under_way, 40)
    assert server.work(30).limit >= 27


def test_no_more_are_under_way_than_it_says() -> None:
    pace, under_way, most = Pace(4), [0], [0]
    lock = threading.Lock()

    def client() -> None:
        for _ in range(30):
            with pace.slot():
                with lock:
                    under_way[0] += 1
                    most[0] = max(most[0], under_way[0])
                time.sleep(0.001)
                with lock:
                    under_way[0] -= 1
            pace.answered(1)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert most[0] <= 4


def overload(pace: Pace) -> None:
    """A request that is answered 429."""
    with pace.slot() as begun:
        pass
    pace.overloaded(begun)


def test_overload_halves_it_at_once() -> None:
    pace = Pace(8)
    pace._limit = 8
    overload(pace)
    assert pace.limit == 4


def test_requests_that_were_refused_together_halve_it_once() -> None:
    pace = Pace(8)
    pace._limit = 8
    with pace.slot() as first, pace.slot() as second, pace.slot() as third:
        pass
    for begun in (first, second, third):
        pace.overloaded(begun)
    assert pace.limit == 4


@pytest.mark.parametrize("times", [1, 10])
def test_it_never_falls_below_one(times: int) -> None:
    pace = Pace(2)
    for _ in range(times):
        overload(pace)
    assert pace.limit == 1


def test_it_climbs_again_after_an_overload() -> None:
    server = Server(8, lambda under_way: under_way)
    server.work(6)
    overload(server.pace)
    assert server.pace.limit == 4
    assert server.work(12).limit == 8


def test_one_is_never_exceeded() -> None:
    assert Server(1, lambda _: 1).work(10).limit == 1
