"""More work than there is room for: nobody waits behind a bulk, nothing is run for nobody, memory stays what it was.

Counted in tokens and batches, not in seconds, so that a busy machine changes nothing."""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from server_running import MODEL, RunningServer, start_server
from test_batching import Model, expected

from server.batching import Batcher
from server.metrics import Metrics

BUDGET = 4096
LONG = [f"Sentence number {index} about freight costs and margins. " * 20 for index in range(2048)]
LONG_TOKENS = 202  # the longest of them, with all-MiniLM-L6-v2
MIXES = int(os.environ.get("PDFKB_MIXES", "2000"))  # of lengths; 10,000 take a minute and a half


def metric(server: RunningServer, name: str, label: str = "") -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line) and label in line)


def until_idle(server: RunningServer) -> None:
    """Until the queue is empty and the last batch is through."""
    deadline = time.monotonic() + 120
    ran = -1.0
    while time.monotonic() < deadline:
        before, ran = ran, metric(server, "kb_embed_inputs_total")
        if metric(server, "kb_embed_queue_tokens") == 0 and before == ran:
            return
        time.sleep(1)
    raise AssertionError("the queue does not get empty")


# --- padding (R4) ----------------------------------------------------------------------------------------------------


def test_mixes_of_lengths_are_served_within_the_budget() -> None:
    model = Model()
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="mixes")
    chosen = random.Random(4)
    shares = []  # of padding, where more waits than fits a batch

    async def mix() -> None:
        shortest, longest = sorted(chosen.sample((1, 4, 16, 64, 128, 256, 4096), 2))
        requests = [[chosen.randint(shortest, longest) for _ in range(chosen.randint(1, 24))] for _ in range(6)]
        model.batches.clear()
        model.gate.clear()
        first = batcher.submit([[1]])  # holds the model until all are in the queue
        while batcher.queued_tokens:
            await asyncio.sleep(0)
        waiting = [batcher.submit([[7] * length for length in lengths]) for lengths in requests]
        model.gate.set()
        answers = await asyncio.gather(*waiting)
        await first
        assert [answer[:, 0].tolist() for answer in answers] == requests
        batches = model.batches[1:]
        padded = [max(map(len, batch)) * len(batch) for batch in batches]
        assert max(padded) <= BUDGET
        real = sum(map(sum, requests))
        if sum(map(len, requests)) >= 32 and real >= BUDGET:
            shares.append(1 - real / sum(padded))

    async def all_mixes() -> None:
        for _ in range(MIXES):
            await mix()

    asyncio.run(all_mixes())
    batcher.close()
    assert len(shares) > MIXES / 5
    assert float(np.mean(shares)) <= 0.15


# --- two lanes (R8) --------------------------------------------------------------------------------------------------


class Clock:
    """A model whose time is the padded tokens it ran. While it runs, questions come for a share of that time."""

    def __init__(self, share: float) -> None:
        self.now = 0
        self.waited: list[int] = []
        self.questions: list[asyncio.Future[np.ndarray]] = []
        self.bulk_done_at = 0
        self.share = share
        self.batcher: Batcher | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._asked: dict[int, int] = {}
        self._due = 0.0
        self._chosen = random.Random(8)

    def __call__(self, batch: Sequence[Sequence[int]]) -> np.ndarray:
        tokens = max(map(len, batch)) * len(batch)
        if self.share:  # all the while, a few at a time
            for _ in range(4):
                self.now += tokens // 4
                self._ask(tokens // 4)
        else:
            self.now += tokens
        for ids in batch:
            if ids[0] in self._asked:
                self.waited.append(self.now - self._asked.pop(ids[0]))
            else:
                self.bulk_done_at = self.now
        return expected(batch)

    def _ask(self, passed: int) -> None:
        assert self.batcher is not None
        assert self.loop is not None
        self._due += self.share * passed
        while self._due >= 12 and self.bulk_waits:
            length = self._chosen.randint(8, 12)
            self._due -= 12  # with what it is padded by
            number = 1_000 + len(self.waited) + len(self._asked)
            self._asked[number] = self.now
            asyncio.run_coroutine_threadsafe(self._submit([[number] * length]), self.loop).result()

    async def _submit(self, ids: list[list[int]]) -> None:
        assert self.batcher is not None
        self.questions.append(self.batcher.submit(ids))

    @property
    def bulk_waits(self) -> bool:
        assert self.batcher is not None
        return len(self.batcher._bulk) > 0


def bulk(share: float) -> Clock:
    clock = Clock(share)
    clock.batcher = Batcher(clock, max_batch_tokens=BUDGET, metrics=Metrics(), name="lanes")

    async def ask() -> None:
        clock.loop = asyncio.get_running_loop()
        assert clock.batcher is not None
        lengths = [20 + 37 * number % 200 for number in range(2048)]
        await clock.batcher.submit([[1] * length for length in lengths])
        await asyncio.gather(*clock.questions)

    asyncio.run(ask())
    clock.batcher.close()
    return clock


def test_2048_texts_hold_up_no_question_and_are_hardly_held_up_themselves() -> None:
    alone, together = bulk(0), bulk(0.2)
    assert len(together.waited) > 1_000
    assert np.percentile(together.waited, 95) <= 3 * BUDGET
    assert together.bulk_done_at <= 1.3 * alone.bulk_done_at


# --- work for nobody (R9) --------------------------------------------------------------------------------------------


def test_what_a_client_that_left_had_waiting_is_dropped(server: RunningServer) -> None:
    until_idle(server)
    dropped = metric(server, "kb_embed_cancelled_total", 'stage="queue"')
    started = metric(server, "kb_embed_inputs_total")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/embeddings", json={"input": LONG, "model": MODEL}, timeout=2)
    under_way = (
        BUDGET // LONG_TOKENS
    )  # texts of the batch that had started when the client left, and is not counted yet
    remaining = len(LONG) - (metric(server, "kb_embed_inputs_total") - started) - under_way
    until_idle(server)
    assert remaining > 1_000
    assert metric(server, "kb_embed_cancelled_total", 'stage="queue"') - dropped >= 0.95 * remaining


def test_a_storm_of_clients_that_give_up_and_try_again_wastes_little(server: RunningServer) -> None:
    """Ten clients give up three times each before they wait for their answers, behind a bulk that takes longer."""
    until_idle(server)
    ran = metric(server, "kb_embed_tokens_total", "real")

    def client(number: int) -> int:
        body = {"input": LONG[number * 32 : number * 32 + 32], "model": MODEL}
        with httpx.Client(base_url=server.url) as http:
            for _ in range(3):
                with pytest.raises(httpx.ReadTimeout):
                    http.post("/v1/embeddings", json=body, timeout=0.5)
            return tokens_of(http.post("/v1/embeddings", json=body, timeout=200))

    with ThreadPoolExecutor(11) as threads:
        long = threads.submit(server.client.post, "/v1/embeddings", json={"input": LONG[:768]}, timeout=200)
        time.sleep(0.3)
        wanted = sum(threads.map(client, range(10)))
        wanted += tokens_of(long.result())
    until_idle(server)
    assert metric(server, "kb_embed_tokens_total", "real") - ran <= 1.1 * wanted


def tokens_of(response: httpx.Response) -> int:
    assert response.status_code == 200, response.text
    return int(response.json()["usage"]["total_tokens"])


# --- memory (R7) -----------------------------------------------------------------------------------------------------


def test_ten_times_too_much_takes_no_more_memory(tmp_path: Path) -> None:
    server = start_server(tmp_path, "--max-queued-tokens", str(4 * 48 * LONG_TOKENS))
    if not Path(f"/proc/{server.process.pid}/status").exists():
        pytest.skip("/proc is missing")
    try:
        usual, statuses = most_memory(server, clients=4, seconds=5)
        assert statuses == {200}
        overloaded, statuses = most_memory(server, clients=40, seconds=5)
        assert statuses == {200, 429}
        assert overloaded <= 1.1 * usual
    finally:
        assert server.stop() == 0


def most_memory(server: RunningServer, *, clients: int, seconds: float) -> tuple[int, set[int]]:
    """The most resident memory while so many clients ask all the time, each for 48 texts, a fourth of the queue."""
    statuses: set[int] = set()
    ending = threading.Event()

    def ask(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=120) as http:
            while not ending.is_set():
                answer = http.post("/v1/embeddings", json={"input": LONG[number * 16 : number * 16 + 48]})
                statuses.add(answer.status_code)
                ending.wait(0.2)

    with ThreadPoolExecutor(clients) as threads:
        for number in range(clients):
            threads.submit(ask, number)
        most, deadline = 0, time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())
                assert found is not None
                most = max(most, int(found[1]))
                time.sleep(0.1)
        finally:
            ending.set()
    return most, statuses
