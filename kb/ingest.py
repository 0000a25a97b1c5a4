"""The ingest flow: find, decide, extract, chunk, embed, commit; the stages overlap and documents are written whole."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial

from kb.chunk import recipe_of
from kb.config import Settings
from kb.errors import EndpointError
from kb.indexing import IndexingAhead, indexing_ahead
from kb.overlap import overlapped
from kb.pipeline import EmbeddedDocument, EmbeddingEndpoint, Extractor, Stages
from kb.plan import Decision, Known, decide, is_unchanged
from kb.report import BusyClock, FileOutcome, IngestReport, Outcome
from kb.settle import Settler
from kb.sources import SourceFile, find_sources, within
from kb.space import check_space
from kb.store import IngestedDocument, Run, Store
from kb.store.schemas import now
from kb.types import ContentKey, Progress

__all__ = ["ingest"]

# A commit costs some 50 ms whatever its size: many documents share one, but none waits long for it.
COMMIT_CHUNKS = 4_000
COMMIT_SECONDS = 10.0
# Where no more than this share of the bytes is left to read, twice as many wait: two commits would keep the end waiting
# longer than one.
LITTLE_LEFT = 0.1

GO_ON = "What was finished before is kept: run the same command again to go on."


def ingest(
    paths: Iterable[str | os.PathLike[str]],
    *,
    settings: Settings,
    endpoint: EmbeddingEndpoint,
    extractor: Extractor,
    store: Store,
    prune: bool = False,
    retry_failed: bool = False,
    draw: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> IngestReport:
    """Brings the collection up to date with the files. Unchanged files cost nothing; every document is whole or absent.

    Raises SourceError, EndpointError or StoreError where nothing could be done; the store is then as it was. Where
    the endpoint fails later, or `stop` says so, what was committed stays, and the report says why it `stopped`. The
    extractor is closed when all is read.
    """
    roots = list(paths)
    sources = find_sources(roots, settings.ingest)
    recipe = recipe_of(settings.extraction, settings.chunking, settings.embedder, endpoint.tokenizer.max_tokens)

    def known() -> Known:
        return Known(store.documents(), store.contents(), recipe, attempt_of(settings, recipe), retry_failed)

    if not all(is_unchanged(source, known()) for source in sources):
        check_space(store, endpoint.space)  # before anything is written
    run = _Run(settings, endpoint, extractor, store, recipe, draw, stop, sources)
    with store.writing():
        store.sweep()
        before = store.contents().keys()
        run.bring_in(decide(sources, known()))
        if prune and not run.stopped:
            run.prune(roots, sources)
        run.finish(before)
        return run.report()


def attempt_of(settings: Settings, recipe: str) -> str:
    """Fingerprint of what could make a failed file readable next time; no password can be told from its few bits."""
    extraction = settings.extraction
    secrets = "".join(password.get_secret_value() for password in extraction.passwords)
    few_bits = hashlib.sha256(secrets.encode()).hexdigest()[:4]
    parts = [recipe, few_bits, extraction.model_dump(mode="json", exclude={"passwords", "workers"})]
    return "failed-" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class _Run:
    """One ingest: what came out of the stages is written and settled, all in the calling thread."""

    def __init__(
        self,
        settings: Settings,
        endpoint: EmbeddingEndpoint,
        extractor: Extractor,
        store: Store,
        recipe: str,
        draw: Callable[[Progress], None],
        stop: Callable[[], bool],
        sources: Sequence[SourceFile],
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._settler = Settler(recipe, attempt_of(settings, recipe), sources)
        self._draw = draw
        self._stop = stop
        self._total = len(sources)
        self._clock = BusyClock()
        self._stages = Stages(settings, endpoint, extractor, recipe, self._clock)
        self._usage_before = endpoint.usage
        self._started, self._started_at = time.perf_counter(), now()
        self._held: list[IngestedDocument] = []
        self._last_write = self._started
        self._wrote = False
        self.stopped = ""

    def bring_in(self, decisions: Iterator[Decision]) -> None:
        """Runs all stages; an endpoint that fails or Ctrl-C ends it, with everything embedded by then committed."""
        with ExitStack() as stack:
            indexing = stack.enter_context(indexing_ahead(self._store, self._clock))
            extracted = stack.enter_context(overlapped(self._stages.extract(decisions), depth=4))
            chunked = stack.enter_context(overlapped(self._stages.chunk(extracted), depth=4))
            embedded = stack.enter_context(
                overlapped(
                    self._stages.embed(self._until_stop(chunked)), depth=2, tick=partial(self._while_waiting, indexing)
                )
            )
            try:
                self._commit(embedded, indexing)
            finally:
                self._stages.stop()

    def _until_stop(self, documents: Iterator[EmbeddedDocument]) -> Iterator[EmbeddedDocument]:
        """What is being embedded when somebody says stop is finished and written; the rest is left for the next run."""
        for document in documents:
            if self._stop():
                self.stopped = f"Stopped as asked. {GO_ON}"
                return
            yield document

    def _while_waiting(self, indexing: IndexingAhead) -> None:
        """What is finished is written in time also where the next document takes an hour to read."""
        if self._held and time.perf_counter() - self._last_write > COMMIT_SECONDS:
            self._write_held(indexing)
        self._tick()

    def _commit(self, windows: Iterator[list[EmbeddedDocument]], indexing: IndexingAhead) -> None:
        try:
            for window in windows:
                self._held += [ingested for item in window if (ingested := self._settler.settle(item)) is not None]
                chunks, left = sum(len(item.chunks) for item in self._held), self._settler.share_left
                if chunks >= COMMIT_CHUNKS * (2 if left < LITTLE_LEFT else 1) or indexing.is_due(chunks, left):
                    self._write_held(indexing)
        except EndpointError as error:
            if not self._wrote and not any(item.chunks for item in self._held):
                raise
            self.stopped = f"{error} {GO_ON}"
        except KeyboardInterrupt:
            self.stopped = f"Interrupted. {GO_ON}"
        self._write(self._held)
        self._held = []
        if not self.stopped:
            self._write(self._settler.give_up_waiting())

    def _write_held(self, indexing: IndexingAhead) -> None:
        self._write(self._held)
        indexing.wrote(sum(len(item.chunks) for item in self._held), self._settler.share_left)
        self._held, self._last_write = [], time.perf_counter()

    def _write(self, held: list[IngestedDocument]) -> None:
        with self._clock.busy("store"):
            self._write_whole(held)
            self._write_whole(self._settler.settle_waiting())

    def _write_whole(self, ingested: Sequence[IngestedDocument]) -> None:
        if ingested:
            space = self._endpoint.space
            self._store.commit(ingested, dimension=space.dimension, space=space.to_json())
            self._wrote = True
            self._settler.note_written(ingested)

    def _tick(self) -> None:
        pages, passages = self._stages.pages_read, self._stages.passages_embedded
        seconds = time.perf_counter() - self._started
        self._draw(
            Progress(
                len(self._settler.outcomes),
                self._total,
                "ingest",
                f"{pages:,} pages read, {passages:,} passages embedded",
                passages=passages,
                rate=pages / seconds,
                unit="pages",
                seconds_left=self._settler.seconds_left(seconds),
            )
        )

    # --- the end of a run ----------------------------------------------------------------------------------------

    def prune(self, roots: Sequence[str | os.PathLike[str]], sources: Sequence[SourceFile]) -> None:
        """Forgets documents under the roots whose files are gone; what a folder hides that cannot be listed stays."""
        present = {source.path for source in sources}
        hidden = [source.path for source in sources if source.is_folder]
        missing = (path for path in self._store.documents() if path not in present and within(path, roots))
        gone = sorted(path for path in missing if not within(path, hidden))
        with self._clock.busy("store"):
            self._store.forget(gone)
        self._wrote = self._wrote or bool(gone)
        self._settler.outcomes += [FileOutcome(path, Outcome.REMOVED) for path in gone]

    def finish(self, before: Set[ContentKey]) -> None:
        """Gives back what nothing refers to any more, and brings the indexes up to date."""
        if self._wrote:
            self._draw(Progress(self._total, self._total, "index"))
            with self._clock.busy("index"):
                if not before <= self._store.contents().keys():
                    self._store.sweep()
                self._store.bring_up_to_date()

    def _embedding(self) -> dict[str, float]:
        """What went to the endpoint in this run, and what the cache spared it."""
        before, after = asdict(self._usage_before), asdict(self._endpoint.usage)
        return {name: round(after[name] - before[name], 3) for name in after}

    def report(self) -> IngestReport:
        """What this run did; it is also a line of the ledger."""
        report = IngestReport(
            files=tuple(sorted(self._settler.outcomes, key=lambda file: file.path)),
            seconds=time.perf_counter() - self._started,
            stage_seconds=dict(self._clock.seconds),
            embedding=self._embedding(),
            stopped=self.stopped,
        )
        text = json.dumps(report.to_dict(), default=str)
        self._store.add_run(Run(self._started_at, report.seconds, report.summary, report.exit_status, text))
        return report
