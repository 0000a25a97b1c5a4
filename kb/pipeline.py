"""The stages of an ingest as generators: decisions in, embedded documents out. Nothing here writes or reports."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kb.chunk import Chunker, TokenCounter
from kb.config import Settings
from kb.embed import EmbedderUsage, EmbeddingBatch, EmbeddingSpace
from kb.errors import EndpointModelError
from kb.overlap import overlapped
from kb.plan import Decision, Step
from kb.report import BusyClock
from kb.types import Chunk, ExtractedDocument, Vector

__all__ = ["EmbeddedDocument", "EmbeddingEndpoint", "Extractor", "Stages"]

# Texts are embedded in windows over document borders, two of them under way, so that the endpoint never waits for us.
WINDOWS_UNDER_WAY = 2
# How soon a stage that waits for a document sees that the run is over.
STOP_SECONDS = 0.2
# Files that need no embedding would otherwise wait for a window to fill up.
WINDOW_FILES = 200


class EmbeddingEndpoint(Protocol):
    """What an ingest needs of the endpoint; `kb.embed.Embedder` is it."""

    @property
    def space(self) -> EmbeddingSpace:
        """Model, dimension and canary vectors."""

    @property
    def tokenizer(self) -> TokenCounter:
        """Counts tokens as the endpoint does."""

    @property
    def usage(self) -> EmbedderUsage:
        """What was sent so far."""

    def embed_documents(
        self, texts: Sequence[str], *, tokens: Sequence[int] | None = None, stop: Callable[[], bool] = lambda: False
    ) -> EmbeddingBatch:
        """Vectors of texts, whose tokens need not be counted again where they are known."""


class Extractor(Protocol):
    """What an ingest needs of extraction; `kb.extract.ExtractionPool` is it."""

    def submit(self, path: Path) -> Future[ExtractedDocument]:
        """Starts reading a file."""

    def close(self) -> None:
        """Ends what is still being read, and gives back what it took."""


@dataclass(frozen=True, slots=True)
class EmbeddedDocument:
    """A file after all stages; `extracted` is None for one that was not read."""

    decision: Decision
    extracted: ExtractedDocument | None = None
    chunks: tuple[Chunk, ...] = ()
    texts: tuple[str, ...] = ()
    vectors: Vector | None = None
    refused: dict[int, EndpointModelError] | None = None  # passages that the endpoint would not embed, by index


class Stages:
    """Extract, chunk and embed for one run; what they have done so far can be read while they run."""

    def __init__(
        self, settings: Settings, endpoint: EmbeddingEndpoint, extractor: Extractor, recipe: str, clock: BusyClock
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._extractor = extractor
        self._recipe = recipe
        self._clock = clock
        self._window = settings.embedder.batch_size * settings.embedder.concurrency  # texts
        self._stopping = threading.Event()
        self.pages_read = 0
        self.passages_embedded = 0

    def extract(self, decisions: Iterable[Decision]) -> Iterator[EmbeddedDocument]:
        """Documents in the order they are ready; a few more than there are workers are under way.

        After the last one the extractor is closed: its memory is not needed for what is left to do.
        """
        workers = self._settings.extraction.workers or os.cpu_count() or 1
        under_way: dict[Future[ExtractedDocument], Decision] = {}
        try:
            for decision in decisions:
                if decision.step is not Step.READ:
                    yield EmbeddedDocument(decision)
                    continue
                self._clock.start("extract")
                under_way[self._extractor.submit(decision.source.real)] = decision
                if len(under_way) > workers + 1:
                    yield from self._extracted(under_way)
            while under_way and not self._stopping.is_set():
                yield from self._extracted(under_way)
        finally:
            self._extractor.close()

    def stop(self) -> None:
        """Waits for no document any more that is still being read or embedded."""
        self._stopping.set()

    def _extracted(self, under_way: dict[Future[ExtractedDocument], Decision]) -> Iterator[EmbeddedDocument]:
        done: set[Future[ExtractedDocument]] = set()
        while not done and not self._stopping.is_set():
            done, _ = wait(under_way, STOP_SECONDS, FIRST_COMPLETED)
        for future in done:
            decision = under_way.pop(future)
            self._clock.stop("extract")
            document = future.result()
            self.pages_read += document.page_count
            if _changed_meanwhile(decision):
                reason = "changed while it was being read; the next run reads it again"
                yield EmbeddedDocument(replace(decision, step=Step.REPORT, reason=reason))
            else:
                yield EmbeddedDocument(decision, document)

    def chunk(self, documents: Iterable[EmbeddedDocument]) -> Iterator[EmbeddedDocument]:
        """Documents with their chunks and the texts to embed."""
        chunker: Chunker | None = None
        for item in documents:
            if item.extracted is None or not item.extracted.status.has_text:
                yield item
                continue
            with self._clock.busy("chunk"):
                chunker = chunker or Chunker(
                    self._settings.chunking, self._endpoint.tokenizer, prefix=self._settings.embedder.document_prefix
                )
                chunks = tuple(chunker.chunk(item.extracted, doc_id=item.decision.doc_id, recipe=self._recipe))
                texts = tuple(chunker.texts_to_embed(chunks, item.extracted.metadata.title))
            yield replace(item, chunks=chunks, texts=texts)

    def embed(self, documents: Iterable[EmbeddedDocument]) -> Iterator[list[EmbeddedDocument]]:
        """Windows of documents with their vectors, in order, so that a failure loses no window before it.

        Each is handed on as soon as it is there: the next document may take an hour to read.
        """
        with (
            ThreadPoolExecutor(WINDOWS_UNDER_WAY, thread_name_prefix="kb-embed") as threads,
            overlapped(self._begun(documents, threads), depth=WINDOWS_UNDER_WAY - 1) as begun,
        ):
            try:
                for window in begun:
                    yield window.result()
            finally:
                self.stop()  # where one has failed, those behind it are of no use

    def _begun(
        self, documents: Iterable[EmbeddedDocument], threads: ThreadPoolExecutor
    ) -> Iterator[Future[list[EmbeddedDocument]]]:
        for window in _windows(documents, self._window):
            yield threads.submit(self._embed_window, window)

    def _embed_window(self, window: list[EmbeddedDocument]) -> list[EmbeddedDocument]:
        texts = [text for item in window for text in item.texts]
        if not texts:
            return window
        with self._clock.busy("embed"):
            tokens = [chunk.tokens for item in window for chunk in item.chunks]
            batch = self._endpoint.embed_documents(texts, tokens=tokens, stop=self._stopping.is_set)
        self.passages_embedded += len(texts)
        embedded: list[EmbeddedDocument] = []
        start = 0
        for item in window:
            end = start + len(item.texts)
            refused = {index - start: error for index, error in batch.failures.items() if start <= index < end}
            embedded.append(replace(item, vectors=batch.vectors[start:end], refused=refused))
            start = end
        return embedded


def _windows(documents: Iterable[EmbeddedDocument], size: int) -> Iterator[list[EmbeddedDocument]]:
    window: list[EmbeddedDocument] = []
    for item in documents:
        window.append(item)
        if sum(len(held.texts) for held in window) >= size or len(window) >= WINDOW_FILES:
            yield window
            window = []
    if window:
        yield window


def _changed_meanwhile(decision: Decision) -> bool:
    try:
        status = decision.source.real.stat()
    except OSError:
        return True
    return (status.st_size, status.st_mtime_ns) != (decision.source.size, decision.source.mtime_ns)
