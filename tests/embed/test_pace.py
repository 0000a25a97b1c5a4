"""How many requests are under way: more while it pays, fewer at once when the server has too much to do."""

from __future__ import annotations

import threading
import time

import pytest

from kb.embed.pace import FIRST_LIMIT, Pace


def work(pace: Pace, seconds_of_one: float, requests: int, threads: int, shares: bool) -> None:
    """A server that takes requests side by side, or one after the other where they share one device."""
    device = threading.Lock()

    def client() -> None:
        for _ in range(requests):
            with pace.slot():
                if shares:
                    with device:
                        time.sleep(seconds_of_one)
                else:
                    time.sleep(seconds_of_one)
            pace.answered(1)

    clients = [threading.Thread(target=client) for _ in range(threads)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()


def test_it_climbs_while_throughput_grows() -> None:
    pace = Pace(8)
    work(pace, 0.01, requests=25, threads=8, shares=False)
    assert pace.limit > FIRST_LIMIT + 1


def test_it_stays_low_where_more_brings_nothing() -> None:
    pace = Pace(32)
    work(pace, 0.004, requests=12, threads=16, shares=True)
    assert pace.limit <= 8


def test_overload_halves_it_at_once() -> None:
    pace = Pace(8)
    pace._limit = 8
    pace.overloaded()
    assert pace.limit == 4


@pytest.mark.parametrize("times", [1, 10])
def test_it_never_falls_below_one(times: int) -> None:
    pace = Pace(2)
    for _ in range(times):
        pace.overloaded()
    assert pace.limit == 1
    with pace.slot():
        pass


def test_one_is_never_exceeded() -> None:
    assert Pace(1).limit == 1
