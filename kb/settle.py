"""What becomes of each file of an ingest: what is to be written of it, and its line in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kb.pipeline import EmbeddedDocument
from kb.plan import Decision, Step
from kb.report import FileOutcome, Outcome
from kb.sources import SourceFile
from kb.store import IngestedDocument
from kb.store.schemas import now
from kb.types import Document, DocumentStatus, ExtractedDocument, PageStatus

__all__ = ["Settler"]


class Settler:
    """Settles the files of one run. `recipe` stands in the rows of documents with text, `attempt` in the others."""

    def __init__(self, recipe: str, attempt: str, sources: Sequence[SourceFile]) -> None:
        self._recipe = recipe
        self._attempt = attempt
        self.outcomes: list[FileOutcome] = []
        self._finished: dict[str, Document] = {}  # by content, of this run
        self._twins: list[Decision] = []  # whose content is still being read
        self._bytes_left = sum(source.size for source in sources)
        self._bytes_done = 0  # of files that were read

    def settle(self, item: EmbeddedDocument) -> IngestedDocument | None:
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

    def settle_waiting(self) -> list[IngestedDocument]:
        """Copies whose content has been written by now."""
        waiting, self._twins = self._twins, []
        return [item for decision in waiting if (item := self._settle_twin(decision)) is not None]

    def give_up_waiting(self) -> list[IngestedDocument]:
        """Copies of a file that changed while it was read, at the end of a run."""
        reason = "not read, as its copy changed meanwhile; the next run reads it"
        waiting, self._twins = self._twins, []
        return [self._settle_unreadable(replace(decision, reason=reason)) for decision in waiting]

    def note_written(self, ingested: Sequence[IngestedDocument]) -> None:
        """Copies of these need not be read."""
        self._finished |= {item.document.doc_id: item.document for item in ingested if item.document.doc_id}

    @property
    def share_left(self) -> float:
        """Of the bytes of the run, those of files that need not be read counted until they are settled."""
        return self._bytes_left / max(1, self._bytes_left + self._bytes_done)

    def seconds_left(self, seconds: float) -> float | None:
        """By bytes, for files differ in length; those that need not be read count on neither side."""
        return seconds * self._bytes_left / self._bytes_done if self._bytes_done else None

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
        self.outcomes.append(FileOutcome(path, Outcome.FAILED, DocumentStatus.UNREADABLE, decision.reason))

    def _report(self, document: Document, outcome: Outcome) -> None:
        self.outcomes.append(
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


def _missing_pages(extracted: ExtractedDocument) -> tuple[int, ...]:
    """Pages that hold something no search can find: a picture without OCR, or a failure. Blank pages are no loss."""
    lost = (PageStatus.IMAGE_ONLY, PageStatus.FAILED)
    return tuple(page.number for page in extracted.pages if page.status in lost)
