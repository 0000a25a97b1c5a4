"""Reading a file page by page: the bytes, the engine that opens them, and the second opinion where one is needed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kb.config import ExtractionSettings
from kb.extract.doubt import doubt
from kb.extract.layout import RawPage
from kb.extract.ocr import recognise
from kb.extract.outline import OutlineEntry
from kb.extract.pdfium_reader import PasswordNeededError, PdfiumReader
from kb.extract.pypdf_reader import PypdfReader
from kb.types import DocumentStatus, Metadata, PageStatus

__all__ = ["Reading", "RefusedError", "read_document"]

_LITTLE_TEXT = 10_000  # letters and spaces


class RefusedError(Exception):
    """The document has no pages to give, and why."""

    def __init__(self, status: DocumentStatus, reason: str, page_count: int = 0) -> None:
        super().__init__(reason)
        self.status, self.reason, self.page_count = status, reason, page_count


@dataclass(slots=True)
class Reading:
    """What the engines told of a document. `pages` grows while it is read."""

    page_count: int
    metadata: Metadata = field(default_factory=Metadata)
    outline: list[OutlineEntry] = field(default_factory=list)
    pages: list[RawPage] = field(default_factory=list)
    reason: str = ""  # why it ended early, or what is odd about it


class Reader(Protocol):
    """What both engines can do."""

    page_count: int

    def read_page(self, number: int) -> RawPage: ...
    def label(self, number: int) -> str: ...
    def outline(self) -> list[OutlineEntry]: ...
    def metadata(self) -> Metadata: ...


def read_document(
    path: Path,
    settings: ExtractionSettings,
    *,
    on_open: Callable[[Reading], None] | None = None,
    on_page: Callable[[RawPage], None] | None = None,
    known: Sequence[RawPage] = (),
) -> Reading:
    """All pages of the file at `path`: the `known` ones, and those after them. Raises RefusedError if it has none."""
    data = _read_bytes(path, settings)
    passwords = [password.get_secret_value() for password in settings.passwords]
    second = _SecondOpinion(data, passwords)
    reader = _open(data, passwords, settings, second)
    try:
        if reader.page_count == 0:
            raise RefusedError(DocumentStatus.EMPTY, "the PDF has no pages")
        if reader.page_count > settings.max_pages:
            reason = f"{reader.page_count} pages, over extraction.max_pages ({settings.max_pages})"
            raise RefusedError(DocumentStatus.OVER_LIMIT, reason, reader.page_count)
        reading = Reading(reader.page_count, reader.metadata(), reader.outline(), list(known))
        if on_open:
            on_open(reading)
        for number in range(len(known) + 1, reader.page_count + 1):
            page = _read_page(number, reader, second, settings)
            reading.pages.append(page)
            if on_page:
                on_page(page)
        if settings.engine == "auto":
            reading.reason = _damage(reading.pages, second)
        return reading
    finally:
        if isinstance(reader, PdfiumReader):
            reader.close()


def _read_bytes(path: Path, settings: ExtractionSettings) -> bytes:
    """The file's bytes, read at one go so that a change meanwhile is noticed and both engines see the same."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RefusedError(DocumentStatus.UNREADABLE, "not a regular file")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > settings.memory_mb * 1024 * 1024 // 2:
                reason = f"{before.st_size / 2**20:,.0f} MB, over half of extraction.memory_mb ({settings.memory_mb})"
                raise RefusedError(DocumentStatus.OVER_LIMIT, reason)
            data = file.read()
            after = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RefusedError(DocumentStatus.UNREADABLE, f"cannot be read: {reason}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise RefusedError(DocumentStatus.UNREADABLE, "changed while it was read")
    if not data:
        raise RefusedError(DocumentStatus.CORRUPT, "the file is empty (0 bytes)")
    return data


def _open(
    data: bytes, passwords: Sequence[str], settings: ExtractionSettings, second: _SecondOpinion
) -> PdfiumReader | PypdfReader:
    """The engine that the settings ask for, else the other one. Raises RefusedError where neither opens the file."""
    try:
        return PypdfReader(data, passwords) if settings.engine == "pypdf" else PdfiumReader(data, passwords)
    except PasswordNeededError:
        raise _encrypted(passwords) from None
    except MemoryError:
        raise
    except Exception as error:
        first_error = error
    try:
        if settings.engine == "auto":
            return second.reader()
        other_error = ""
    except PasswordNeededError:
        raise _encrypted(passwords) from None
    except MemoryError:
        raise
    except Exception as error:
        other_error = f"; {_described(error)}"
    if b"%PDF-" not in data[:1024]:
        raise RefusedError(DocumentStatus.CORRUPT, "not a PDF file") from first_error
    raise RefusedError(DocumentStatus.CORRUPT, f"damaged: {_described(first_error)}{other_error}") from first_error


def _read_page(number: int, reader: Reader, second: _SecondOpinion, settings: ExtractionSettings) -> RawPage:
    """Page `number`, by the better engine, else as failed with the reason."""
    try:
        page = reader.read_page(number)
    except MemoryError:
        raise
    except Exception as error:
        page = RawPage(number, reader.label(number), [], status=PageStatus.FAILED, note=_described(error))
    doubtful = doubt(page)
    if doubtful and settings.engine == "auto" and not isinstance(reader, PypdfReader):
        page = second.better_page(page, doubtful)
    if page.status is PageStatus.IMAGE_ONLY and isinstance(reader, PdfiumReader):
        recognise(page, reader, settings)
    return page


def _damage(pages: Sequence[RawPage], second: _SecondOpinion) -> str:
    """What is wrong with a document that gave little text; empty where nothing is, or nobody looked.

    pdfium repairs without a word, and a file that lost pages gives little. For the others opening them a second time
    would cost a tenth of reading them.
    """
    if sum(page.letters for page in pages) > _LITTLE_TEXT:
        return ""
    blank = all(page.status is PageStatus.BLANK for page in pages)
    return second.damage(repairs_count=blank)


class _SecondOpinion:
    """pypdf, opened when it is first needed: that costs more than pdfium takes for the whole document."""

    def __init__(self, data: bytes, passwords: Sequence[str]) -> None:
        self._data, self._passwords = data, passwords
        self._reader: PypdfReader | None = None
        self._failure: Exception | None = None

    def reader(self) -> PypdfReader:
        """The open document. Raises what opening it raised, the second time without trying."""
        if self._failure:
            raise self._failure
        if self._reader is None:
            try:
                self._reader = PypdfReader(self._data, self._passwords)
            except Exception as error:
                self._failure = error
                raise
        return self._reader

    def better_page(self, page: RawPage, doubtful: str) -> RawPage:
        """`page` as pypdf reads it where that is better, else as it is."""
        try:
            other = self.reader().read_page(page.number)
        except MemoryError:
            raise
        except Exception:
            return page
        if not other.letters or doubt(other) or other.letters < page.letters // 2:
            return page
        other.note = f"read by pypdf: {doubtful}"
        other.width, other.height = page.width, page.height
        return other

    def damage(self, *, repairs_count: bool) -> str:
        """What is wrong with the file's structure; empty where it is sound, or repaired and that is fine."""
        try:
            repairs = self.reader().repairs()
            return f"damaged: {repairs[0]}" if repairs and repairs_count else ""
        except MemoryError:
            raise
        except Exception as error:
            return f"damaged: {_described(error)}"


def _encrypted(passwords: Sequence[str]) -> RefusedError:
    tried = f"none of the {len(passwords)} in extraction.passwords opens it"
    fix = tried if passwords else "add it to extraction.passwords"
    return RefusedError(DocumentStatus.ENCRYPTED, f"needs a password: {fix}")


def _described(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return (text[:160] if text else type(error).__name__) or "unknown"
