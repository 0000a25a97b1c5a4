"""What pypdf tells of a document: the second opinion on its pages, its form fields, and repairs that pdfium lacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import islice
from typing import Any, TypeVar

from pypdf import PdfReader, apply_configuration
from pypdf.errors import LimitReachedError
from pypdf.generic import Destination

from kb.extract.dates import parse_date
from kb.extract.layout import Line, RawPage
from kb.extract.outline import OutlineEntry
from kb.extract.pdfium_reader import PasswordNeededError
from kb.types import Metadata, PageStatus

__all__ = ["PypdfReader"]

# pypdf's defaults turn away honest files (a 10-Q with an array of 100,000 numbers). They are raised for a second try,
# which is safe because the process that runs it has a limit of time and of memory.
_RAISED: dict[str, Any] = {
    "array_maximum_element_count": 5_000_000,
    "dictionary_maximum_element_count": 1_000_000,
    "stream_parsing_work_maximum_count": 40_000_000,
    "page_tree_maximum_depth": 400,
    "xform_maximum_invocations_per_extraction": 50_000,
    "zlib_maximum_output_length": 400_000_000,
    "stream_decoding_work_maximum_length": 1_200_000_000,
}
_PAGES_LOOKED_AT = 20
_LINE_HEIGHT = 12.0  # pypdf gives no places: lines are laid out evenly


_Result = TypeVar("_Result")


class PypdfReader:
    """One open document."""

    def __init__(self, data: bytes, passwords: Sequence[str] = ()) -> None:
        """Open `data`. Raises PasswordNeededError, or any Exception where pypdf finds no document."""
        self._opening_repairs: list[str] = []
        with _quiet(self._opening_repairs):
            self._reader = _open(data, passwords)
            self.page_count = _with_raised_limits(lambda: len(self._reader.pages))

    def read_page(self, number: int) -> RawPage:
        """Page `number`, counting from 1. Raises any Exception where pypdf cannot read it."""
        with _quiet():
            text = _with_raised_limits(lambda: self._reader.pages[number - 1].extract_text())
            lines = [line.strip() for line in text.splitlines()]
            status = PageStatus.TEXT if any(lines) else self._status_without_text(number)
        laid_out = [
            Line(line, 0.0, -index * _LINE_HEIGHT, float(len(line)), -index * _LINE_HEIGHT + 10.0)
            for index, line in enumerate(lines)
            if line
        ]
        return RawPage(number, self.label(number), laid_out, status=status)

    def label(self, number: int) -> str:
        """What is printed as the number of page `number`; its position where the document defines none."""
        with suppress(Exception), _quiet():
            return self._reader.page_labels[number - 1].strip() or str(number)
        return str(number)

    def repairs(self) -> list[str]:
        """What pypdf had to repair; empty where the structure is sound. Raises any Exception where it cannot."""
        repairs = list(self._opening_repairs)
        with _quiet(repairs):
            for page in islice(self._reader.pages, _PAGES_LOOKED_AT):
                page.get_contents()
        return repairs

    def outline(self) -> list[OutlineEntry]:
        """The bookmarks in order; one without a page takes the page of the one before it."""
        entries: list[OutlineEntry] = []
        with suppress(Exception), _quiet():
            self._walk(self._reader.outline, 0, entries)
        return entries

    def metadata(self) -> Metadata:
        """Title, author and the rest, empty where the file says nothing or something unreadable."""
        with suppress(Exception), _quiet():
            information: Any = self._reader.metadata or {}
            value = {key: _text_of(information, key) for key in ("Title", "Author", "Subject")}
            return Metadata(
                title=value["Title"],
                author=value["Author"],
                subject=value["Subject"],
                language=_text_of(self._reader.root_object, "Lang"),
                created=parse_date(_text_of(information, "CreationDate")),
                modified=parse_date(_text_of(information, "ModDate")),
            )
        return Metadata()

    def _walk(self, items: Sequence[Any], level: int, entries: list[OutlineEntry]) -> None:
        for item in items:
            if isinstance(item, list):
                self._walk(item, level + 1, entries)
            elif isinstance(item, Destination):
                number = self._reader.get_destination_page_number(item)
                page = (entries[-1].page if entries else 1) if number is None else number + 1
                entries.append(OutlineEntry(level, str(item.title or ""), page))

    def _status_without_text(self, number: int) -> PageStatus:
        with suppress(Exception):
            resources = self._reader.pages[number - 1].get("/Resources", {}).get_object()
            return PageStatus.IMAGE_ONLY if resources.get("/XObject") else PageStatus.BLANK
        return PageStatus.BLANK


def _open(data: bytes, passwords: Sequence[str]) -> PdfReader:
    reader = PdfReader(BytesIO(data), strict=False)
    if reader.is_encrypted and not any(reader.decrypt(password) for password in ("", *passwords)):
        raise PasswordNeededError
    return reader


def _with_raised_limits(read: Callable[[], _Result]) -> _Result:
    """What `read` returns, tried again with raised limits where pypdf's defaults stop it."""
    try:
        return read()
    except LimitReachedError:
        with apply_configuration(**_RAISED):
            return read()


class _Collector(logging.Handler):
    """Keeps the messages of pypdf's repairs."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _quiet(messages: list[str] | None = None) -> Iterator[None]:
    """Keep pypdf from logging every repair: hundreds of lines for a damaged file, of no use to a reader of the log."""
    logger = logging.getLogger("pypdf")
    collector = _Collector([] if messages is None else messages)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
        logger.setLevel(level)


def _text_of(dictionary: Any, key: str) -> str:
    with suppress(Exception):
        value = dictionary.get(f"/{key}")
        return "" if value is None else str(value.get_object())
    return ""
