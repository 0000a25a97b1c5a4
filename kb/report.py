"""What an ingest did: for a terminal, a notebook, a scheduler and a file, all from the same data."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from kb.errors import IncompleteError
from kb.html import render
from kb.shown import Shown
from kb.types import DocumentStatus

__all__ = ["BusyClock", "FileOutcome", "IngestReport", "Outcome"]


class Outcome(StrEnum):
    """What became of a file in this run."""

    ADDED = "added"
    UNCHANGED = "unchanged"
    CHANGED = "changed"
    REMOVED = "removed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """One file of a run."""

    path: str
    outcome: Outcome
    status: DocumentStatus | None = None
    reason: str = ""
    pages: int = 0
    chunks: int = 0
    pages_without_text: tuple[int, ...] = ()

    @property
    def incomplete(self) -> bool:
        """Whether something of the file cannot be found by any search."""
        return self.outcome is Outcome.FAILED or bool(self.pages_without_text) or self.status is DocumentStatus.PARTIAL


@dataclass(frozen=True, slots=True)
class IngestReport(Shown):
    """A whole run. `stopped` says why it ended early; what was committed by then is kept."""

    files: tuple[FileOutcome, ...]
    seconds: float
    stage_seconds: dict[str, float] = field(default_factory=dict)
    embedding: dict[str, float] = field(default_factory=dict)
    stopped: str = ""

    def count(self, outcome: Outcome) -> int:
        """Files that ended so."""
        return sum(file.outcome is outcome for file in self.files)

    @property
    def pages(self) -> int:
        """Pages read in this run."""
        return sum(file.pages for file in self.files if file.outcome in (Outcome.ADDED, Outcome.CHANGED))

    @property
    def chunks(self) -> int:
        """Chunks written in this run."""
        return sum(file.chunks for file in self.files if file.outcome in (Outcome.ADDED, Outcome.CHANGED))

    @property
    def incomplete(self) -> tuple[FileOutcome, ...]:
        """Files that failed, or of which some pages cannot be found."""
        return tuple(file for file in self.files if file.incomplete)

    @property
    def exit_status(self) -> int:
        """0: everything can be found; 1: not all, the report says what."""
        return 1 if self.incomplete or self.stopped else 0

    @property
    def summary(self) -> str:
        """One line for a person."""
        counts = ", ".join(f"{self.count(outcome)} {outcome}" for outcome in Outcome)
        hits = int(self.embedding.get("cache_hits", 0))
        cached = f" ({hits} from the cache)" if hits else ""
        return f"{counts}; {self.pages} pages, {self.chunks} chunks{cached} in {self.seconds:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """The report as `kb ingest --json` prints it. Unchanged files are counted, not listed."""
        listed = [file for file in self.files if file.outcome is not Outcome.UNCHANGED or file.incomplete]
        return {
            **{str(outcome): self.count(outcome) for outcome in Outcome},
            "pages": self.pages,
            "chunks": self.chunks,
            "seconds": round(self.seconds, 3),
            "stage_seconds": {stage: round(seconds, 3) for stage, seconds in self.stage_seconds.items()},
            "embedding": self.embedding,
            "stopped": self.stopped,
            "exit_status": self.exit_status,
            "files": [asdict(file) for file in listed],
        }

    def raise_if_incomplete(self) -> None:
        """Raises IncompleteError where `exit_status` is not 0."""
        if self.exit_status:
            names = ", ".join(Path(file.path).name for file in self.incomplete[:5])
            what = self.stopped or f"{len(self.incomplete)} of {len(self.files)} files cannot be found whole"
            raise IncompleteError(what, where=names, fix="The report above says why; mend or remove these files.")

    def _repr_html_(self) -> str:
        return render("report.html", report=self)

    def to_text(self) -> str:
        """The result where there is no HTML."""
        return self.summary


class BusyClock:
    """Seconds during which at least one piece of work of each stage was under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Counts the time inside as work of a stage."""
        self.start(stage)
        try:
            yield
        finally:
            self.stop(stage)

    def start(self, stage: str) -> None:
        """One more piece of work of a stage begins."""
        with self._lock:
            if not self._running.get(stage):
                self._since[stage] = time.perf_counter()
            self._running[stage] = self._running.get(stage, 0) + 1

    def stop(self, stage: str) -> None:
        """One piece of work of a stage has ended."""
        with self._lock:
            self._running[stage] -= 1
            if not self._running[stage]:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - self._since[stage]
