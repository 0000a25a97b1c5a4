"""The ingest flow: find, decide, extract, chunk, embed, commit; the stages overlap and documents are written whole."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

import numpy as np

from kb.chunk import recipe_of
from kb.config import Settings
from kb.errors import EndpointError
from kb.overlap import overlapped
from kb.pipeline import EmbeddedDocument, EmbeddingEndpoint, Extractor, Stages
from kb.plan import Decision, Known, Step, decide, is_unchanged
from kb.report import BusyClock, FileOutcome, IngestReport, Outcome
from kb.sources import SourceFile, find_sources, within
from kb.space import check_space
from kb.store import IngestedDocument, Run, Store
from kb.store.schemas import now
from kb.types import Document, DocumentStatus, ExtractedDocument, PageStatus, Progress

__all__ = ["ingest"]

# A commit costs some 50 ms whatever its size: many documents share one, but none waits long for it.
COMMIT_CHUNKS = 4_000
COMMIT_SECONDS = 10.0

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
    the endpoint fails later, or `stop` says so, what was committed stays, and the report says why it `stopped`.
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
        run.bring_in(decide(sources, known()))
        if prune and not run.stopped:
            run.prune(roots, sources)
        run.finish()
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
        self._recipe = recipe
        self._attempt = attempt_of(settings, recipe)
        self._draw = draw
        self._stop = stop
        self._total = len(sources)
        self._bytes_left = sum(source.size for source in sources)
        self._bytes_done = 0  # of files that were not found unchanged
        self._clock = BusyClock()
        self._stages = Stages(settings, endpoint, extractor, recipe, self._clock)
        self._outcomes: list[FileOutcome] = []
        self._finished: dict[str, Document] = {}  # by content, of this run
        self._twins: list[Decision] = []  # whose content is still being read
        self._usage_before = endpoint.usage
        self._started, self._started_at = time.perf_counter(), now()
        self._wrote = False
        self.stopped = ""

    def bring_in(self, decisions: Iterator[Decision]) -> None:
        """Runs all stages; an endpoint that fails or Ctrl-C ends it, with everything embedded by then committed."""
        with ExitStack() as stack:
            extracted = stack.enter_context(overlapped(self._stages.extract(decisions), depth=4))
            chunked = stack.enter_context(overlapped(self._stages.chunk(extracted), depth=4))
            embedded = stack.enter_context(
                overlapped(self._stages.embed(self._until_stop(chunked)), depth=2, tick=self._tick)
            )
            try:
                self._commit(embedded)
            finally:
                self._stages.stop()

    def _until_stop(self, documents: Iterator[EmbeddedDocument]) -> Iterator[EmbeddedDocument]:
        """What is being embedded when somebody says stop is finished and written; the rest is left for the next run."""
        for document in documents:
            if self._stop():
                self.stopped = f"Stopped as asked. {GO_ON}"
                return
            yield document

    def _commit(self, windows: Iterator[list[EmbeddedDocument]]) -> None:
        held: list[IngestedDocument] = []
        last = time.perf_counter()
        try:
            for window in windows:
                held += [ingested for item in window if (ingested := self._settle(item)) is not None]
                due = time.perf_counter() - last > COMMIT_SECONDS
                if due or sum(len(item.chunks) for item in held) >= COMMIT_CHUNKS:
                    self._write(held)
                    held, last = [], time.perf_counter()
        except EndpointError as error:
            if not self._wrote and not any(item.chunks for item in held):
                raise
            self.stopped = f"{error} {GO_ON}"
        except KeyboardInterrupt:
            self.stopped = f"Interrupted. {GO_ON}"
        self._write(held)
        if not self.stopped and self._twins:  # the file that they are copies of changed while it was read
            reason = "not read, as its copy changed meanwhile; the next run reads it"
            self._write([self._settle_unreadable(replace(decision, reason=reason)) for decision in self._twins])

    def _write(self, held: list[IngestedDocument]) -> None:
        with self._clock.busy("store"):
            self._write_whole(held)
            waiting, self._twins = self._twins, []
            self._write_whole([item for decision in waiting if (item := self._settle_twin(decision)) is not None])

    def _write_whole(self, ingested: Sequence[IngestedDocument]) -> None:
        if ingested:
            space = self._endpoint.space
            self._store.commit(ingested, dimension=space.dimension, space=space.to_json())
            self._wrote = True
            self._finished |= {item.document.doc_id: item.document for item in ingested if item.document.doc_id}

    # --- what becomes of a file ----------------------------------------------------------------------------------

    def _settle(self, item: EmbeddedDocument) -> IngestedDocument | None:
        """What is to be written of a file, if anything; its outcome goes to the report."""
        self._bytes_left -= item.decision.source.size
        self._bytes_done += item.decision.source.size if item.decision.step is Step.READ else 0
        match item.decision.step:
            case Step.READ if item.extracted is not None:
                return self._settle_read(item, item.extracted)
            case Step.RECORD:
                return self._settle_twin(item.decision)
            case Step.REPORT if item.decision.source.is_folder:
                self._report_unreadable(item.decision)
            case Step.REPORT:
                return self._settle_unreadable(item.decision)
            case _:
                assert item.decision.before is not None
                whole = item.decision.before.status.has_text
                self._report(item.decision.before, Outcome.UNCHANGED if whole else Outcome.FAILED)
        return None

    def _settle_read(self, item: EmbeddedDocument, extracted: ExtractedDocument) -> IngestedDocument:
        refused = item.refused or {}
        kept = [index for index in range(len(item.chunks)) if index not in refused]
        document = self._document(item, extracted, chunk_count=len(kept))
        if refused:
            first = refused[min(refused)].what
            reason = f"{document.reason} {len(refused)} passages were refused by the endpoint: {first}".strip()
            document = replace(document, status=DocumentStatus.PARTIAL, reason=reason)
        self._report(document, self._outcome(item.decision, document))
        return IngestedDocument(
            document,
            pages=extracted.pages if document.status.has_text else (),
            chunks=tuple(item.chunks[index] for index in kept),
            searched_texts=tuple(item.texts[index] for index in kept),
            vectors=item.vectors[np.array(kept, np.intp)] if item.vectors is not None else None,
        )

    def _document(self, item: EmbeddedDocument, extracted: ExtractedDocument, *, chunk_count: int) -> Document:
        source, metadata = item.decision.source, extracted.metadata
        return Document(
            path=source.path,
            doc_id=item.decision.doc_id,
            recipe=self._recipe if extracted.status.has_text else self._attempt,
            size=source.size,
            mtime_ns=source.mtime_ns,
            status=extracted.status,
            reason=extracted.reason,
            title=metadata.title,
            author=metadata.author,
            created=metadata.created,
            modified=metadata.modified,
            page_count=extracted.page_count,
            chunk_count=chunk_count,
            pages_without_text=_missing_pages(extracted),
            ingested_at=now(),
        )

    def _outcome(self, decision: Decision, document: Document) -> Outcome:
        if not document.status.has_text:
            return Outcome.FAILED
        if decision.before is None:
            return Outcome.ADDED
        same = (decision.before.doc_id, decision.before.recipe) == (document.doc_id, document.recipe)
        return Outcome.UNCHANGED if same and decision.step is Step.RECORD else Outcome.CHANGED

    def _settle_twin(self, decision: Decision) -> IngestedDocument | None:
        """A file whose content is there: a row under its own path is all it takes."""
        twin = decision.twin or self._finished.get(decision.doc_id)
        if twin is None:
            self._twins.append(decision)
            return None
        source = decision.source
        document = replace(twin, path=source.path, size=source.size, mtime_ns=source.mtime_ns)
        self._report(document, self._outcome(decision, document))
        return IngestedDocument(document)

    def _settle_unreadable(self, decision: Decision) -> IngestedDocument:
        """An earlier reading of the file, if it gave text, is kept and only the report tells; else a row tells too."""
        self._report_unreadable(decision)
        before, source = decision.before, decision.source
        if before is not None and before.status.has_text:
            return IngestedDocument(before)
        return IngestedDocument(
            Document(
                path=source.path,
                doc_id="",  # nobody knows
                recipe=self._attempt,
                size=source.size,
                mtime_ns=source.mtime_ns,
                status=DocumentStatus.UNREADABLE,
                reason=decision.reason,
                title="",
                author="",
                created=None,
                modified=None,
                page_count=0,
                chunk_count=0,
                pages_without_text=(),
                ingested_at=now(),
            )
        )

    def _report_unreadable(self, decision: Decision) -> None:
        path = decision.source.path
        self._outcomes.append(FileOutcome(path, Outcome.FAILED, DocumentStatus.UNREADABLE, decision.reason))

    def _report(self, document: Document, outcome: Outcome) -> None:
        self._outcomes.append(
            FileOutcome(
                path=document.path,
                outcome=outcome,
                status=document.status,
                reason=document.reason,
                pages=document.page_count,
                chunks=document.chunk_count,
                pages_without_text=document.pages_without_text,
            )
        )

    def _tick(self) -> None:
        """Remaining time is by bytes, for files differ in length; those found unchanged count on neither side."""
        pages, passages = self._stages.pages_read, self._stages.passages_embedded
        seconds = time.perf_counter() - self._started
        self._draw(
            Progress(
                len(self._outcomes),
                self._total,
                "ingest",
                f"{pages:,} pages read, {passages:,} passages embedded",
                passages=passages,
                rate=pages / seconds,
                unit="pages",
                seconds_left=seconds * self._bytes_left / self._bytes_done if self._bytes_done else None,
            )
        )

    # --- the end of a run ----------------------------------------------------------------------------------------

    def prune(self, roots: Sequence[str | os.PathLike[str]], sources: Sequence[SourceFile]) -> None:
        """Forgets documents under the roots whose files are gone; who knows what is in a folder that cannot be listed."""
        present = {source.path for source in sources}
        hidden = [source.path for source in sources if source.is_folder]
        missing = (path for path in self._store.documents() if path not in present and within(path, roots))
        gone = sorted(path for path in missing if not within(path, hidden))
        self._store.forget(gone)
        self._wrote = self._wrote or bool(gone)
        self._outcomes += [FileOutcome(path, Outcome.REMOVED) for path in gone]

    def finish(self) -> None:
        """Gives back what nothing refers to any more, and brings the indexes up to date."""
        if self._wrote:
            self._draw(Progress(self._total, self._total, "index"))
            with self._clock.busy("index"):
                self._store.sweep()
                self._store.bring_up_to_date()

    def _embedding(self) -> dict[str, float]:
        """What went to the endpoint in this run, and what the cache spared it."""
        before, after = asdict(self._usage_before), asdict(self._endpoint.usage)
        return {name: round(after[name] - before[name], 3) for name in after}

    def report(self) -> IngestReport:
        """What this run did; it is also a line of the ledger."""
        report = IngestReport(
            files=tuple(sorted(self._outcomes, key=lambda file: file.path)),
            seconds=time.perf_counter() - self._started,
            stage_seconds=dict(self._clock.seconds),
            embedding=self._embedding(),
            stopped=self.stopped,
        )
        text = json.dumps(report.to_dict(), default=str)
        self._store.add_run(Run(self._started_at, report.seconds, report.summary, report.exit_status, text))
        return report


def _missing_pages(extracted: ExtractedDocument) -> tuple[int, ...]:
    """Pages that hold something no search can find: a picture without OCR, or a failure. Blank pages are no loss."""
    lost = (PageStatus.IMAGE_ONLY, PageStatus.FAILED)
    return tuple(page.number for page in extracted.pages if page.status in lost)
