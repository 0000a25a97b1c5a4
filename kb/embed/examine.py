"""Measurements of an endpoint that a doctor makes and an ingest does not: limits, replicas, order, speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kb.config import EmbedderSettings
from kb.embed.answers import unit
from kb.embed.failures import Remedy, RequestFailed
from kb.embed.sender import Form, Sender
from kb.embed.space import CANARIES
from kb.types import Vector

__all__ = ["OverLength", "Speed", "largest_batch", "limit_by_trying", "order_holds", "over_length", "replicas", "speed"]

CONNECTIONS = 8
SAME = 0.999  # least cosine of two vectors of one text by one model; precision moves it by 1e-4
CUT = 0.999995  # cosine of two texts that differ only behind the cut; 16 words among 512 move it by 1e-4 and more
USUAL_LIMITS = (128, 256, 512)
SPECIAL_TOKENS = 2
ENDS = ("margin cash flow profit " * 4, "rain snow wind sun " * 4)


def _ask(sender: Sender, texts: Sequence[str], form: Form, url: str) -> Vector:
    """Unit vectors, by as many requests as the form needs, without retries. Raises RequestFailed."""
    parts = [list(texts)] if form.takes_lists else [[text] for text in texts]
    return np.concatenate([unit(sender.send(part, form, retries=0, base_url=url, urgent=True)[0]) for part in parts])


def order_holds(sender: Sender, form: Form, url: str) -> bool:
    """Whether a list's vectors belong to its texts in the order given. Raises RequestFailed."""
    together = _ask(sender, CANARIES, form, url)
    alone = np.concatenate([_ask(sender, [text], form, url) for text in CANARIES])
    return bool((together * alone).sum(axis=1).min() > SAME)


@dataclass(frozen=True)
class OverLength:
    """What happens to a text over the limit: `refused` with the sentence, or `cut` in silence, or neither."""

    refused: str = ""
    cut: bool = False


def over_length(sender: Sender, form: Form, url: str, max_tokens: int) -> OverLength:
    """Sends two texts about twice as long as the limit that differ only at the end. Raises RequestFailed."""
    try:
        return OverLength(cut=not _end_matters(sender, form, url, 2 * max_tokens))
    except RequestFailed as failed:
        if failed.failure.remedy in (Remedy.DIVIDE, Remedy.SMALLER):
            return OverLength(refused=failed.failure.error.what)
        raise


def limit_by_trying(sender: Sender, form: Form, url: str) -> int | None:
    """The longest usual limit, in tokens, at which the end of a text still counts; None if none can be told."""
    found: int | None = None
    for limit in USUAL_LIMITS:
        try:
            if not _end_matters(sender, form, url, limit - SPECIAL_TOKENS):
                break
        except RequestFailed:
            break
        found = limit
    return found


def _end_matters(sender: Sender, form: Form, url: str, tokens: int) -> bool:
    """Whether two texts of so many tokens that differ only in their last ones get different vectors."""
    text = "report " * (tokens - len(ENDS[0].split()))  # one token each in every usual vocabulary
    vectors = np.concatenate([_ask(sender, [text + end], form, url) for end in ENDS])
    return float(vectors[0] @ vectors[1]) < CUT


def largest_batch(sender: Sender, form: Form, url: str, wanted: int) -> int:
    """The most short texts that the endpoint takes at once, up to `wanted`. Raises RequestFailed."""
    size = wanted if form.takes_lists else 1
    while True:
        try:
            _ask(sender, [f"text {number}" for number in range(size)], form, url)
            return size
        except RequestFailed as failed:
            limit = failed.failure.batch_limit
            if failed.failure.remedy not in (Remedy.SMALLER, Remedy.DIVIDE) or size == 1:
                raise
            size = limit if limit is not None and limit < size else size // 2


def replicas(settings: EmbedderSettings, form: Form, url: str) -> list[Vector]:
    """The distinct vectors, float32 (d,), that one text gets on fresh connections. Raises RequestFailed."""
    found: list[Vector] = []
    for _ in range(CONNECTIONS):
        sender = Sender(settings)
        try:
            vector: Vector = _ask(sender, CANARIES[:1], form, url)[0]
        finally:
            sender.close()
        if not any(vector.shape == other.shape and float(vector @ other) > SAME for other in found):
            found.append(vector)
    return found


@dataclass(frozen=True)
class Speed:
    """Seconds for one short text (median), and passages of at most 100 words a second in a batch of `batch`."""

    latency: float
    texts_per_second: float
    batch: int


def speed(sender: Sender, form: Form, url: str, batch: int, max_tokens: int) -> Speed:
    """A glance, with no claim to be a benchmark. Raises RequestFailed."""
    latencies: list[float] = []
    for number in range(5):
        started = time.perf_counter()
        _ask(sender, [f"a short question, number {number}"], form, url)
        latencies.append(time.perf_counter() - started)
    size = min(batch, 32)
    words = ("operating margin and cash flow of the business segment " * 12).split()[: max_tokens // 2]
    passages = [" ".join([str(number), *words]) for number in range(size)]
    started = time.perf_counter()
    _ask(sender, passages, form, url)
    return Speed(statistics.median(latencies), size / (time.perf_counter() - started), size)
