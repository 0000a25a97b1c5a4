"""One way to run a model, measured: how fast its queue is, and how far its vectors are from float32's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.config import ServerConfig
from server.passages import Passages
from server.served import Served
from server.serving import Serving
from server.work import Timings

__all__ = ["NEIGHBOURS", "Trial", "Vectors", "compared", "measured"]

NEIGHBOURS = 10
TEXTS_PER_REQUEST = 64
LEAST_QUESTIONS = 50

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured; the vectors are of unit length."""

    texts_per_second: float
    tokens_per_second: float
    p95_ms: float
    load_seconds: float
    passages: Vectors
    queries: Vectors


def measured(config: ServerConfig, given: Passages, seconds: float) -> Trial:
    """Loads the model as the server does and runs it through the server's queue, without HTTP, for about so long."""
    serving = Serving(config)
    started = time.perf_counter()
    serving.load()
    load_seconds = time.perf_counter() - started
    [served] = serving.served_models()
    if served.model.kind != "embedding":
        raise ValueError(f"{served.model.name} is a reranker; only embedding models can be compared here")
    try:
        return asyncio.run(_run(served, given, seconds, load_seconds))
    finally:
        for batcher in served.batchers:
            batcher.close()


def compared(trial: Trial, exact: Trial) -> tuple[float, float]:
    """The least cosine of a text's two vectors, and the recall that is lost: the share of the passages that are nearest
    to a query by the exact vectors, but not by the others."""
    cosine = float((trial.passages * exact.passages).sum(1).min())
    expected, found = _nearest(exact), _nearest(trial)
    shared = sum(len(set(one) & set(other)) for one, other in zip(expected.tolist(), found.tolist(), strict=True))
    return cosine, 1 - shared / expected.size


async def _run(served: Served, given: Passages, seconds: float, load_seconds: float) -> Trial:
    parts = [given.texts[at : at + TEXTS_PER_REQUEST] for at in range(0, len(given.texts), TEXTS_PER_REQUEST)]
    await _vectors(served, parts[0])  # warm
    rounds: list[float] = []
    tokens = 0
    while not rounds or sum(rounds) < seconds:
        started = time.perf_counter()
        answers = await asyncio.gather(*(_vectors(served, part) for part in parts))
        rounds.append(time.perf_counter() - started)
        tokens = sum(count for _, count in answers)
    times: list[float] = []
    queries: list[Vectors] = []
    while len(times) < max(LEAST_QUESTIONS, len(given.queries)):
        started = time.perf_counter()
        vector, _ = await _vectors(served, [given.queries[len(times) % len(given.queries)]])
        times.append(time.perf_counter() - started)
        queries.append(vector)
    fastest = min(rounds)  # whatever else the machine did in the others
    return Trial(
        texts_per_second=len(given.texts) / fastest,
        tokens_per_second=tokens / fastest,
        p95_ms=1000 * float(np.percentile(times, 95)),
        load_seconds=load_seconds,
        passages=_unit(np.concatenate([vectors for vectors, _ in answers])),
        queries=_unit(np.concatenate(queries[: len(given.queries)])),
    )


async def _vectors(served: Served, texts: Sequence[str]) -> tuple[Vectors, int]:
    model = served.model
    ids = await asyncio.to_thread(model.tokenizer.encode_cut, texts, model.max_tokens)
    return await served.submit(ids, Timings()), sum(map(len, ids))


def _nearest(trial: Trial) -> NDArray[np.int64]:
    """Rows of the passages nearest to each query, best first."""
    return np.argsort(-(trial.queries @ trial.passages.T), axis=1, kind="stable")[:, :NEIGHBOURS]


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
