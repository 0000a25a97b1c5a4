"""Many texts as requests of the right size; one that is refused is divided until the text at fault is alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import numpy as np

from kb.config import EmbedderSettings
from kb.embed.answers import unit
from kb.embed.failures import Failure, Remedy, RequestFailed
from kb.embed.profile import EndpointProfile
from kb.embed.sender import Sender
from kb.embed.space import CANARIES
from kb.errors import EndpointModelError
from kb.types import Vector

__all__ = ["Batches", "Embedded", "batches_of"]

logger = logging.getLogger(__name__)

Embedded = tuple[Vector, dict[int, EndpointModelError]]


class Batches:
    """Sends texts in batches, several at once; `learn` is told the largest batch, once that is found out."""

    def __init__(
        self, settings: EmbedderSettings, sender: Sender, profile: EndpointProfile, learn: Callable[[int], None]
    ) -> None:
        self._settings, self._sender, self._profile, self._learn = settings, sender, profile, learn
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="kb-request")
        self.most_texts = min(settings.batch_size, profile.max_batch or settings.batch_size)
        if not profile.form.takes_lists:
            self.most_texts = 1

    def embed(
        self, texts: Sequence[str], tokens: Sequence[int] | None = None, stop: Callable[[], bool] = lambda: False
    ) -> Embedded:
        """Unit vectors, float32 (n, d), NaN where a text was refused; those refused by place.

        Raises EndpointError, and CancelledError once `stop` says so.
        """
        tokenizer = self._profile.tokenizer
        counts = tokens or (tokenizer.count(texts) if tokenizer.is_quick else list(map(_guess, texts)))
        batches = batches_of(counts, self.most_texts, self._settings.batch_tokens)
        if len(batches) == 1:
            return self._embed_batch(texts)
        vectors = np.full((len(texts), self._profile.space.dimension), np.nan, np.float32)
        refused: dict[int, EndpointModelError] = {}
        running: list[Future[Embedded]] = [
            self._threads.submit(self._embed_unless, stop, [texts[place] for place in batch]) for batch in batches
        ]
        try:
            for batch, future in zip(batches, running, strict=True):
                rows, failed = future.result()
                vectors[batch] = rows
                refused |= {batch[place]: error for place, error in failed.items()}
        finally:
            for future in running:
                future.cancel()
        return vectors, refused

    def _embed_unless(self, stop: Callable[[], bool], texts: Sequence[str]) -> Embedded:
        if stop():
            raise CancelledError
        return self._embed_batch(texts)

    def embed_one(self, text: str) -> Vector:
        """The unit vector of a text, float32 (d,), ahead of any bulk. Raises EndpointError."""
        try:
            raw, _ = self._sender.send([text], self._profile.form, urgent=True)
        except RequestFailed as failed:
            raise failed.failure.error from None
        vector: Vector = unit(raw)[0]
        return vector

    def _embed_batch(self, texts: Sequence[str], *, known_to_work: bool = False) -> Embedded:
        if len(texts) > self.most_texts:  # the limit was found out while this batch waited
            return self._halved(texts, known_to_work)
        try:
            # Where one text may be at fault, a 500 is not waited for again: what the batch needs is to be smaller.
            raw, _ = self._sender.send(texts, self._profile.form, errors_are_final=known_to_work)
            return unit(raw, in_place=True), {}
        except RequestFailed as failed:
            return self._after(failed.failure, texts, known_to_work)

    def _after(self, failure: Failure, texts: Sequence[str], known_to_work: bool) -> Embedded:
        if failure.remedy is Remedy.SMALLER and len(texts) > 1:
            limit = failure.batch_limit
            self._remember(limit if limit is not None and limit < len(texts) else len(texts) // 2, len(texts))
            return self._halved(texts, known_to_work)
        # A 500 through all attempts may be one text that the server dies on: so it is, if it embeds another one.
        poisoned = failure.status == 500 and failure.remedy is Remedy.WAIT
        if failure.remedy not in (Remedy.DIVIDE, Remedy.SMALLER) and not poisoned:
            raise failure.error
        if not known_to_work and not self._works(retries=0 if poisoned else None):
            raise failure.error
        if len(texts) > 1:
            return self._halved(texts, True)
        error = failure.error
        if not isinstance(error, EndpointModelError):
            error = EndpointModelError(error.what, where=error.where, fix=error.fix)
        logger.warning("The endpoint refused a text of %d characters: %s", len(texts[0]), error.what)
        return np.full((1, self._profile.space.dimension), np.nan, np.float32), {0: error}

    def _halved(self, texts: Sequence[str], known_to_work: bool) -> Embedded:
        half = (len(texts) + 1) // 2
        first, first_refused = self._embed_batch(texts[:half], known_to_work=known_to_work)
        second, second_refused = self._embed_batch(texts[half:], known_to_work=known_to_work)
        moved = {place + half: error for place, error in second_refused.items()}
        return np.concatenate([first, second]), first_refused | moved

    def _works(self, retries: int | None) -> bool:
        """Whether the endpoint embeds a harmless text now: then it was the batch that it refused."""
        try:
            self._sender.send(CANARIES[:1], self._profile.form, retries=retries, urgent=True)
        except RequestFailed:
            return False
        return True

    def _remember(self, limit: int, sent: int) -> None:
        limit = max(1, limit)
        if limit < self.most_texts:
            logger.info("The endpoint takes no batch of %d texts; sending at most %d from now on", sent, limit)
            self.most_texts = limit
            self._learn(limit)

    def close(self) -> None:
        """Drops what has not been sent."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def batches_of(counts: Sequence[int], most_texts: int, most_tokens: int) -> list[list[int]]:
    """Places of texts, texts of like length together, at most so many texts and tokens a batch (one text at least)."""
    batches: list[list[int]] = []
    tokens = 0
    for place in sorted(range(len(counts)), key=lambda place: counts[place], reverse=True):
        if not batches or len(batches[-1]) >= most_texts or tokens + counts[place] > most_tokens:
            batches.append([])
            tokens = 0
        batches[-1].append(place)
        tokens += counts[place]
    return batches


def _guess(text: str) -> int:
    """About how many tokens a text has, for the size of a request only."""
    return 2 + len(text) // 4
