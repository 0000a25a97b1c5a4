"""What an ingest has to do: the files of the folder held against the documents of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from kb.sources import SourceFile, content_id
from kb.types import ContentKey, Document, DocumentStatus

__all__ = ["Decision", "Known", "Step", "decide", "is_unchanged"]


class Step(Enum):
    """What to do with a file."""

    NOTHING = "nothing"  # unchanged
    RECORD = "record"  # its content is there already, or is being read in this run: a copy, moved, or only touched
    READ = "read"
    REPORT = "report"  # it cannot be opened


@dataclass(frozen=True, slots=True)
class Decision:
    """A file with what is known of it."""

    source: SourceFile
    step: Step
    doc_id: str = ""
    before: Document | None = None  # what the store holds under this path
    twin: Document | None = None  # what the store holds of this content
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds. `recipe` counts for documents with text, `attempt` for files that gave none."""

    by_path: Mapping[str, Document]
    by_content: Mapping[ContentKey, Sequence[Document]]
    recipe: str
    attempt: str
    retry_failed: bool = False

    def twin(self, doc_id: str) -> Document | None:
        """A document of this content with which nothing is left to do."""
        for recipe in (self.recipe, self.attempt):
            for document in self.by_content.get((doc_id, recipe), ()):
                if self.is_done(document):
                    return document
        return None

    def is_done(self, document: Document) -> bool:
        """Whether reading this content again, with today's settings, would give the same."""
        if document.status is DocumentStatus.UNREADABLE:  # worth a try every time
            return False
        current = document.recipe == (self.recipe if document.status.has_text else self.attempt)
        return current and not (self.retry_failed and document.status is not DocumentStatus.INDEXED)


def is_unchanged(source: SourceFile, known: Known) -> bool:
    """Whether a file is as it was, by size and time, without opening it."""
    before = known.by_path.get(source.path)
    if before is None or source.problem:
        return False
    return (before.size, before.mtime_ns) == (source.size, source.mtime_ns) and known.is_done(before)


def decide(sources: Sequence[SourceFile], known: Known) -> Iterator[Decision]:
    """A decision for each file; of several with the same new content only the first is read."""
    reading: set[str] = set()
    for source in sources:
        before = known.by_path.get(source.path)
        if source.problem:
            yield Decision(source, Step.REPORT, before=before, reason=source.problem)
        elif before is not None and is_unchanged(source, known):
            yield Decision(source, Step.NOTHING, before.doc_id, before)
        else:
            yield _by_content(source, before, known, reading)


def _by_content(source: SourceFile, before: Document | None, known: Known, reading: set[str]) -> Decision:
    try:
        doc_id = content_id(source.real)
    except OSError as error:
        return Decision(source, Step.REPORT, before=before, reason=error.strerror or str(error))
    twin = known.twin(doc_id)
    if twin is not None or doc_id in reading:
        return Decision(source, Step.RECORD, doc_id, before, twin)
    reading.add(doc_id)
    return Decision(source, Step.READ, doc_id, before)
