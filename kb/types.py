"""What flows between the stages: small frozen types, each stage's output the next one's input.

    file ── extract ──► ExtractedDocument ── chunk ──► Chunk ── embed ──► EmbeddedChunk ── store ──► search ──► Hit

Pages count from 1 as they lie in the file; a page label is what is printed on the page ("iv", "24").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Chunk",
    "Document",
    "DocumentStatus",
    "EmbeddedChunk",
    "ExtractedDocument",
    "Hit",
    "Metadata",
    "Page",
    "PageStatus",
    "Progress",
    "Section",
    "Vector",
    "draw_nothing",
]

Vector: TypeAlias = NDArray[np.float32]


class DocumentStatus(StrEnum):
    """How reading a file ended. Only `indexed` and `partial` documents have chunks."""

    INDEXED = "indexed"
    PARTIAL = "partial"  # some pages failed; the rest is indexed
    NO_TEXT = "no text"  # pages, but none with text: a scan without OCR, or blank
    EMPTY = "empty"  # a PDF without pages
    ENCRYPTED = "encrypted"  # needs a password that the configuration does not have
    CORRUPT = "corrupt"  # not a PDF, or damaged beyond what either engine can repair
    OVER_LIMIT = "over limit"  # too many pages, too long, or too much memory
    UNREADABLE = "unreadable"  # the operating system did not let us read it, or it changed while being read

    @property
    def has_text(self) -> bool:
        return self in (DocumentStatus.INDEXED, DocumentStatus.PARTIAL)


class PageStatus(StrEnum):
    """What was found on one page."""

    TEXT = "text"
    OCR = "ocr"  # text recognised from the page's picture
    IMAGE_ONLY = "image only"
    BLANK = "blank"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Section:
    """A place in a page's text where a section starts; `path` is the outline path, outermost title first."""

    offset: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page as it will be chunked: cleaned text, and where in it sections start (offsets into `text`, ascending)."""

    number: int
    label: str
    text: str
    status: PageStatus = PageStatus.TEXT
    sections: tuple[Section, ...] = ()
    note: str = ""  # why a page failed, or which engine read it the second time


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a PDF says about itself; empty or None where it says nothing (38 % of real documents have no title)."""

    title: str = ""
    author: str = ""
    subject: str = ""
    language: str = ""
    created: datetime | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class ExtractedDocument:
    """A file after extraction: what it is, and every page that could be opened, those without text included."""

    path: str
    status: DocumentStatus
    page_count: int = 0
    metadata: Metadata = field(default_factory=Metadata)
    pages: tuple[Page, ...] = ()
    reason: str = ""  # one line for a person, empty when everything was read

    @property
    def pages_without_text(self) -> tuple[int, ...]:
        """Numbers of the pages that gave nothing to search: blank, image-only or failed."""
        return tuple(page.number for page in self.pages if page.status not in (PageStatus.TEXT, PageStatus.OCR))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage within one section. `text` is what is shown; what is embedded may carry title and section in front."""

    chunk_id: str
    doc_id: str
    position: int  # 0-based order within the document
    text: str
    page: int
    last_page: int
    page_label: str
    section: tuple[str, ...]
    tokens: int = 0  # of what is embedded of it, special ones included, to within a few; 0 where nobody counted


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """A chunk with its vector: float32, shape (dimension,), L2 norm 1."""

    chunk: Chunk
    vector: Vector


ContentKey = tuple[str, str]  # doc_id, recipe


@dataclass(frozen=True, slots=True)
class Document:
    """A row of the documents table, one for each path. It is written after the document's chunks: the commit record."""

    path: str  # absolute
    doc_id: str  # SHA-256 of the bytes
    recipe: str  # fingerprint of the settings that made its chunks
    size: int
    mtime_ns: int
    status: DocumentStatus
    reason: str
    title: str
    author: str
    created: datetime | None
    modified: datetime | None
    page_count: int
    chunk_count: int
    pages_without_text: tuple[int, ...]
    ingested_at: datetime

    @property
    def content(self) -> ContentKey:
        """What its pages and chunks are found by."""
        return self.doc_id, self.recipe


@dataclass(frozen=True, slots=True)
class Hit:
    """A cited passage. `score` is higher for better hits; only its order means something across queries."""

    rank: int
    score: float
    document: str
    doc_id: str
    chunk_id: str
    page: int
    last_page: int
    page_label: str
    section: str
    title: str
    text: str
    also_in: tuple[str, ...] = ()  # other files with the same content
    channels: dict[str, int] = field(default_factory=dict)  # rank in each list that found it, counting from 1
    marks: tuple[tuple[int, int], ...] = ()  # ranges of `text`: the sentences that matched

    @property
    def citation(self) -> str:
        """Where it stands, for a person: "report.pdf, page 26 (24)"."""
        name = self.document.rsplit("/", 1)[-1]
        pages = f"page {self.page}" if self.page == self.last_page else f"pages {self.page}-{self.last_page}"
        printed = f" (printed {self.page_label})" if self.page_label not in ("", str(self.page)) else ""
        return f"{name}, {pages}{printed}"

    def to_dict(self) -> dict[str, Any]:
        """The hit as `kb search --json` prints it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"citation": self.citation}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a flow is. The core yields it; the terminal, a notebook and a report draw it."""

    done: int
    total: int
    stage: str
    detail: str = ""
    passages: int = 0  # embedded so far, for a rate
    rate: float = 0.0  # of `unit` a second, 0 where it is not known yet
    unit: str = ""
    seconds_left: float | None = None

    @property
    def pace(self) -> str:
        """Rate and remaining time for a person: "12.3 pages a second, about 4 min left"."""
        parts = [f"{self.rate:,.1f} {self.unit} a second"] if self.rate else []
        if self.seconds_left is not None:
            minutes, seconds = divmod(round(self.seconds_left), 60)
            parts.append(f"about {minutes:,} min left" if minutes else f"about {seconds} s left")
        return ", ".join(parts)


def draw_nothing(_: Progress) -> None:
    """For who does not watch."""
