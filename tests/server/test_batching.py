"""Forming batches: within the budget, of like length, fair, and never stopped by whatever happens to a batch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching import Batcher
from server.metrics import Metrics

BUDGET = 512
POISON = 66_666


class Model:
    """Deterministic: a text's vector is its length and its sum. It remembers its batches, and can be told to fail."""

    def __init__(self, *, seconds: float = 0.0, most_texts: int | None = None) -> None:
        self.batches: list[list[list[int]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self._seconds = seconds
        self._most_texts = most_texts

    def __call__(self, batch: Sequence[Sequence[int]]) -> np.ndarray:
        self.gate.wait(10)
        self.batches.append([list(ids) for ids in batch])
        if self._most_texts is not None and len(batch) > self._most_texts:
            raise RuntimeError("out of memory: tried to allocate")
        if any(POISON in ids for ids in batch):
            raise ValueError("poisoned")
        time.sleep(self._seconds)
        return expected(batch)


def expected(ids: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([[len(item), sum(item)] for item in ids], np.float32)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher]:
    made = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test")
    yield made
    model.gate.set()
    made.close()


def texts(*lengths: int, start: int = 1) -> list[list[int]]:
    return [[start + index] * length for index, length in enumerate(lengths)]


def test_vectors_come_back_in_the_order_of_the_texts(batcher: Batcher) -> None:
    async def ask() -> np.ndarray:
        return await batcher.submit(texts(30, 2, 17, 99, 2))

    assert np.array_equal(asyncio.run(ask()), expected(texts(30, 2, 17, 99, 2)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, BUDGET), min_size=1, max_size=12), min_size=1, max_size=12))
def test_every_batch_is_within_the_budget_and_everybody_is_served(requests: list[list[int]]) -> None:
    model = Model()
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test")
    model.gate.clear()

    async def ask() -> list[np.ndarray]:
        waiting = [batcher.submit(texts(*lengths)) for lengths in requests]
        model.gate.set()
        return await asyncio.gather(*waiting)

    answers = asyncio.run(ask())
    batcher.close()
    for lengths, answer in zip(requests, answers, strict=True):
        assert np.array_equal(answer, expected(texts(*lengths)))
    assert all(max(map(len, batch)) * len(batch) <= BUDGET for batch in model.batches)
    assert sum(map(len, model.batches)) == sum(map(len, requests))
    assert batcher.queued_tokens == 0


def test_texts_of_like_length_go_together(model: Model, batcher: Batcher) -> None:
    async def ask() -> None:
        model.gate.clear()
        first = batcher.submit(texts(1))
        await asyncio.sleep(0.05)
        waiting = batcher.submit(texts(*[5, 60] * 40))
        model.gate.set()
        await asyncio.gather(first, waiting)

    asyncio.run(ask())
    real = sum(len(ids) for batch in model.batches for ids in batch)
    padded = sum(max(map(len, batch)) * len(batch) for batch in model.batches)
    assert padded <= 1.15 * real


def test_where_nothing_is_padded_requests_run_as_they_came() -> None:
    model = Model()
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test", pads=False)

    async def ask() -> None:
        model.gate.clear()
        first = batcher.submit(texts(3))
        await asyncio.sleep(0.05)
        waiting = [batcher.submit(texts(*lengths)) for lengths in ([1, 300, 7, 1, 1], [100, 5, 5, 5, 200], [600] * 5)]
        model.gate.set()
        await asyncio.gather(first, *waiting)

    asyncio.run(ask())
    batcher.close()
    # The longest of each first, as many as the budget has room for; what is longer than the budget runs by itself.
    expected = [[300, 7, 1, 1, 1, 200], [100, 5, 5, 5]] + [[600]] * 5
    assert [[len(ids) for ids in batch] for batch in model.batches[1:]] == expected


def test_a_question_goes_before_a_bulk_job(model: Model, batcher: Batcher) -> None:
    order: list[str] = []

    async def ask() -> None:
        model.gate.clear()
        bulk = batcher.submit(texts(*[100] * 40))
        bulk.add_done_callback(lambda _: order.append("bulk"))
        await asyncio.sleep(0.05)
        question = batcher.submit(texts(8))
        question.add_done_callback(lambda _: order.append("question"))
        model.gate.set()
        await asyncio.gather(bulk, question)

    asyncio.run(ask())
    assert order == ["question", "bulk"]
    assert [8] in [[len(ids) for ids in batch] for batch in model.batches[:3]]


def test_a_bulk_job_is_not_starved_by_questions() -> None:
    model = Model(seconds=0.02)
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test")

    async def ask() -> bool:
        bulk = batcher.submit(texts(*[100] * 10))
        deadline = time.monotonic() + 20
        while not bulk.done() and time.monotonic() < deadline:
            await asyncio.gather(*(batcher.submit(texts(8)) for _ in range(4)))
        return bulk.done()

    assert asyncio.run(ask())
    batcher.close()


def test_a_bad_text_fails_alone_and_the_worker_lives(batcher: Batcher) -> None:
    async def ask() -> list[object]:
        good, bad = batcher.submit(texts(5, 6, 7)), batcher.submit([[1, 2], [POISON]])
        first = await asyncio.gather(good, bad, return_exceptions=True)
        return [*first, await batcher.submit(texts(3))]

    good, bad, later = asyncio.run(ask())
    assert np.array_equal(np.asarray(good), expected(texts(5, 6, 7)))
    assert isinstance(bad, ValueError)
    assert np.array_equal(np.asarray(later), expected(texts(3)))
    assert not batcher.is_stuck


def test_five_percent_of_faults_hang_nobody(batcher: Batcher) -> None:
    async def ask() -> list[object]:
        requests = [[[POISON]] if number % 20 == 0 else texts(number % 30 + 1) for number in range(1000)]
        waiting = [batcher.submit(ids) for ids in requests]
        return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)

    answers = asyncio.run(ask())
    assert [isinstance(answer, ValueError) for answer in answers] == [number % 20 == 0 for number in range(1000)]


def test_memory_that_runs_out_halves_the_budget_and_loses_nothing() -> None:
    model = Model(most_texts=4)
    batcher = Batcher(model, max_batch_tokens=4096, metrics=(metrics := Metrics()), name="test")

    async def ask() -> np.ndarray:
        return await batcher.submit(texts(*[100] * 32))

    assert np.array_equal(asyncio.run(ask()), expected(texts(*[100] * 32)))
    assert metrics.registry.get_sample_value("kb_embed_oom_retries_total") > 0  # type: ignore[operator]
    batcher.close()


def test_the_budget_becomes_what_fits_and_no_less() -> None:
    """Both halves of a batch run out of memory, and their halves: the budget is that of the largest that did not."""
    model = Model(most_texts=8)
    batcher = Batcher(model, max_batch_tokens=32_000, metrics=Metrics(), name="test")

    async def ask() -> np.ndarray:
        return await batcher.submit(texts(*[250] * 128))

    assert len(asyncio.run(ask())) == 128
    assert batcher.budget == 8 * 250
    batcher.close()


@pytest.mark.parametrize(
    ("message", "for_good"),
    [
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA out of memory. Tried to allocate 2 GiB", False),
        ("CUDA error: out of memory", False),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)", False),
        ("MPS backend out of memory", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_a_device_that_failed_for_good_is_seen_as_dead(message: str, for_good: bool) -> None:
    """CUDA refuses all further work of a process after such an error; only a new process mends it."""
    calls = 0

    def forward(batch: Sequence[Sequence[int]]) -> np.ndarray:
        nonlocal calls
        calls += 1
        raise RuntimeError(message)

    batcher = Batcher(forward, max_batch_tokens=4096, metrics=Metrics(), name="gpu")

    async def ask() -> None:
        with pytest.raises(RuntimeError):
            await batcher.submit(texts(*[10] * 8))

    asyncio.run(ask())
    assert batcher.is_stuck is for_good
    assert (calls == 1) is for_good  # no use to try its halves
    batcher.close()


def test_work_that_is_cancelled_never_reaches_the_model(model: Model, batcher: Batcher) -> None:
    async def ask() -> None:
        model.gate.clear()
        first = batcher.submit(texts(1))
        await asyncio.sleep(0.05)
        abandoned = batcher.submit(texts(*[50] * 100, start=1000))
        abandoned.cancel()
        model.gate.set()
        await first
        await batcher.submit(texts(2))

    asyncio.run(ask())
    assert batcher._metrics.registry.get_sample_value("kb_embed_cancelled_total", {"stage": "queue"}) == 100
    assert all(ids[0] < 1000 for batch in model.batches for ids in batch)
    assert batcher.queued_tokens == 0


def test_closing_finishes_what_is_queued(model: Model) -> None:
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test")

    async def ask() -> np.ndarray:
        waiting = batcher.submit(texts(*[100] * 20))
        await asyncio.to_thread(batcher.close)
        return await waiting

    assert np.array_equal(asyncio.run(ask()), expected(texts(*[100] * 20)))


def test_questions_do_not_blur_the_measured_rate() -> None:
    """What Retry-After and the watchdog go by: that of full batches, not of a forward pass for ten tokens."""
    model = Model(seconds=0.02)
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test")

    async def ask() -> tuple[float, float]:
        await batcher.submit(texts(*[32] * 16 * 30))
        full = batcher.tokens_per_second
        for _ in range(40):
            await batcher.submit(texts(8))
        return full, batcher.tokens_per_second

    full, later = asyncio.run(ask())
    batcher.close()
    assert full > 5 * 8 / 0.02
    assert later >= 0.8 * full


def test_clients_that_ask_again_at_once_share_a_batch() -> None:
    model = Model(seconds=0.05)
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test")

    async def client(late: float) -> None:
        await asyncio.sleep(late)
        for _ in range(6):
            await batcher.submit(texts(8))

    async def ask() -> None:
        await asyncio.gather(*(client(late) for late in (0, 0, 0, 0.02, 0.02, 0.02)))

    asyncio.run(ask())
    batcher.close()
    assert sorted(map(len, model.batches))[-3:] == [6, 6, 6]  # not three and three by turns


def test_nobody_waits_long_for_clients_that_do_not_come_back() -> None:
    model = Model(seconds=0.05)
    batcher = Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="test")

    async def ask() -> float:
        await asyncio.gather(*(batcher.submit(texts(8)) for _ in range(6)))
        started = time.monotonic()
        await batcher.submit(texts(8))
        return time.monotonic() - started

    assert asyncio.run(ask()) < 1
    batcher.close()
