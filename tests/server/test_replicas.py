"""Several replicas of a model: bulks go to all of them, questions to the one that is free first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from test_batching import BUDGET, POISON, Model, expected, texts

from server.batching import LEAST_BUDGET, Batcher
from server.metrics import Metrics
from server.queues import fitting_budget
from server.sharing import share
from server.work import Timings


@pytest.fixture
def models() -> list[Model]:
    return [Model(seconds=0.01), Model(seconds=0.01)]


@pytest.fixture
def batchers(models: list[Model]) -> Iterator[list[Batcher]]:
    made = [Batcher(model, max_batch_tokens=BUDGET, metrics=Metrics(), name="replica") for model in models]
    yield made
    for model, batcher in zip(models, made, strict=True):
        model.gate.set()
        batcher.close()


LENGTHS = [1 + 37 * index % 90 for index in range(60)]


def test_a_bulk_runs_on_all_replicas_and_comes_back_in_order(models: list[Model], batchers: list[Batcher]) -> None:
    async def ask() -> np.ndarray:
        return await share(texts(*LENGTHS), batchers, timings)

    timings = Timings()
    assert np.array_equal(asyncio.run(ask()), expected(texts(*LENGTHS)))
    done = [sum(len(ids) for batch in model.batches for ids in batch) for model in models]
    assert min(done) >= 0.45 * sum(done)
    assert timings.forward > 0


def test_a_bulk_that_nobody_waits_for_is_dropped_everywhere(models: list[Model], batchers: list[Batcher]) -> None:
    async def ask() -> None:
        for model in models:
            model.gate.clear()
        whole = share(texts(*LENGTHS * 10), batchers, Timings())
        whole.set_exception(TimeoutError())
        with pytest.raises(TimeoutError):
            await whole
        for model in models:
            model.gate.set()
        await asyncio.gather(*(batcher.submit(texts(2)) for batcher in batchers))
        async with asyncio.timeout(10):  # a replica drops what it holds when it next looks at its queue
            while any(batcher.queued_tokens for batcher in batchers):
                await asyncio.sleep(0.01)

    asyncio.run(ask())
    assert sum(len(batch) for model in models for batch in model.batches) < len(LENGTHS) * 10 / 2


def test_a_bad_text_fails_its_request_and_no_other(batchers: list[Batcher]) -> None:
    async def ask() -> list[object]:
        bad = share([*texts(*LENGTHS), [POISON]], batchers, Timings())
        return await asyncio.gather(bad, share(texts(*LENGTHS), batchers, Timings()), return_exceptions=True)

    bad, good = asyncio.run(ask())
    assert isinstance(bad, ValueError)
    assert np.array_equal(np.asarray(good), expected(texts(*LENGTHS)))


def test_a_replica_that_runs_a_batch_is_not_free(models: list[Model], batchers: list[Batcher]) -> None:
    async def ask() -> tuple[float, float]:
        models[0].gate.clear()
        running = batchers[0].submit(texts(50))
        await asyncio.sleep(0.1)
        seconds = batchers[0].seconds_until_free, batchers[1].seconds_until_free
        models[0].gate.set()
        await running
        return seconds

    busy, idle = asyncio.run(ask())
    assert (busy > 0, idle) == (True, 0)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_budget_is_what_fits_the_device() -> None:
    assert fitting_budget(Model(most_texts=10), 16_384, 256) == 2048
    assert fitting_budget(Model(), 16_384, 256) == 16_384


def test_a_device_that_holds_not_even_the_least_batch_is_said() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        fitting_budget(Model(most_texts=0), 4 * LEAST_BUDGET, 8192)


def test_a_batch_that_failed_keeps_no_memory_while_it_is_tried_again() -> None:
    held: list[int] = []
    alive = 0

    class Activations:
        def __init__(self) -> None:
            nonlocal alive
            alive += 1

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def forward(batch: list[list[int]]) -> np.ndarray:
        held.append(alive)
        activations = Activations()
        if len(batch) > 1:
            raise RuntimeError(f"out of memory: {activations}")
        return expected(batch)

    batcher = Batcher(forward, max_batch_tokens=4096, metrics=Metrics(), name="tight")  # type: ignore[arg-type]

    async def ask() -> np.ndarray:
        return await batcher.submit(texts(*[10] * 8))

    assert np.array_equal(asyncio.run(ask()), expected(texts(*[10] * 8)))
    batcher.close()
    assert held == [0] * len(held)


def test_a_vector_that_overflowed_is_an_error_of_its_text_alone() -> None:
    def forward(batch: list[list[int]]) -> np.ndarray:
        vectors = expected(batch)
        vectors[[POISON in ids for ids in batch]] = np.nan
        return vectors

    batcher = Batcher(forward, max_batch_tokens=4096, metrics=Metrics(), name="half")  # type: ignore[arg-type]

    async def ask() -> list[object]:
        return await asyncio.gather(batcher.submit([[POISON]]), batcher.submit(texts(1)), return_exceptions=True)

    bad, good = asyncio.run(ask())
    batcher.close()
    assert "NaN" in str(bad)
    assert np.array_equal(np.asarray(good), expected(texts(1)))
