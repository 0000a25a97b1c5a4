"""What an ingest would do, found out without doing it: the same files, held against the same store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kb.chunk import recipe_of
from kb.config import Settings
from kb.html import render
from kb.ingest import attempt_of
from kb.pipeline import EmbeddingEndpoint
from kb.plan import Decision, Known, Step, decide
from kb.sources import find_sources, within
from kb.store import Store

__all__ = ["Change", "IngestPreview", "preview"]

LISTED = 200


class Change(StrEnum):
    """What would become of a file."""

    NEW = "new"
    CHANGED = "changed"
    COPY = "copy or moved"
    RETRY = "read again"
    UNREADABLE = "cannot be opened"
    GONE = "file is gone"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class IngestPreview:
    """Files by what would become of them; `bytes` is what would be read."""

    files: tuple[tuple[str, Change], ...]
    bytes: int
    prune: bool

    @property
    def counts(self) -> dict[Change, int]:
        """Files of each kind, none of the kinds that do not occur."""
        found = [change for _, change in self.files]
        return {change: found.count(change) for change in Change if change in found}

    @property
    def changes(self) -> tuple[tuple[str, Change], ...]:
        """The files that are not as they were."""
        return tuple(file for file in self.files if file[1] is not Change.UNCHANGED)

    def to_dict(self) -> dict[str, Any]:
        """Counts, and every file that is not unchanged."""
        counts = {str(change): count for change, count in self.counts.items()}
        return {"counts": counts, "bytes": self.bytes, "files": [list(map(str, file)) for file in self.changes]}

    def _repr_html_(self) -> str:
        return render("preview.html", preview=self, listed=LISTED)


def preview(
    paths: Iterable[str | os.PathLike[str]],
    *,
    settings: Settings,
    endpoint: EmbeddingEndpoint,
    store: Store,
    prune: bool = False,
    retry_failed: bool = False,
) -> IngestPreview:
    """What `ingest` of the same paths would do. Raises SourceError, EndpointError or StoreError."""
    roots = list(paths)
    sources = find_sources(roots, settings.ingest)
    recipe = recipe_of(settings.extraction, settings.chunking, settings.embedder, endpoint.tokenizer.max_tokens)
    known = Known(store.documents(), store.contents(), recipe, attempt_of(settings, recipe), retry_failed)
    decisions = list(decide(sources, known))
    present = {source.path for source in sources}
    gone = sorted(path for path in known.by_path if path not in present and within(path, roots))
    files = [(decision.source.path, _change(decision)) for decision in decisions]
    read = sum(decision.source.size for decision in decisions if decision.step is Step.READ)
    return IngestPreview((*files, *((path, Change.GONE) for path in gone)), read, prune)


def _change(decision: Decision) -> Change:
    match decision.step:
        case Step.NOTHING:
            return Change.UNCHANGED
        case Step.REPORT:
            return Change.UNREADABLE
        case Step.RECORD:
            same = decision.before is not None and decision.before.doc_id == decision.doc_id
            return Change.UNCHANGED if same else Change.COPY
        case _ if decision.before is None:
            return Change.NEW
        case _:
            return Change.RETRY if decision.before.doc_id == decision.doc_id else Change.CHANGED
