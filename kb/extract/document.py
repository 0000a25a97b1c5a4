"""One file to an ExtractedDocument: read page by page, then tidied with the whole document in view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kb.config import ExtractionSettings
from kb.extract.clean import clean, is_clean
from kb.extract.columns import order_columns
from kb.extract.furniture import remove_furniture
from kb.extract.headings import infer_outline
from kb.extract.hyphens import join_hyphens
from kb.extract.layout import Line, RawPage
from kb.extract.outline import outline_paths, place_sections
from kb.extract.paragraphs import page_text
from kb.extract.pdfium_reader import PDFIUM_LOCK
from kb.extract.reading import Reading, RefusedError, read_document
from kb.extract.titles import given_title
from kb.garbage import without_collection
from kb.types import DocumentStatus, ExtractedDocument, Metadata, Page, PageStatus

__all__ = ["extract_document", "finish", "refused"]

_NAMED_PAGES = 12  # how many page ranges a reason names


def extract_document(
    path: Path, settings: ExtractionSettings, *, progress: Callable[[Page], None] | None = None
) -> ExtractedDocument:
    """Read `path` in this process. A bad PDF is a status with a reason, never an exception.

    `progress` gets each page as soon as it is read, before the whole document's headers and hyphens are known. No limit
    of time or memory holds here: that is what ExtractionPool is for.
    """
    on_page = None if progress is None else lambda page: progress(_provisional(page))
    try:
        with PDFIUM_LOCK, without_collection():
            return finish(path, read_document(path, settings, on_page=on_page))
    except RefusedError as refusal:
        return refused(path, refusal)
    except MemoryError:
        return refused(path, RefusedError(DocumentStatus.OVER_LIMIT, "not enough memory"))


def refused(path: Path, refusal: RefusedError) -> ExtractedDocument:
    """The document of a file that gives no pages."""
    return ExtractedDocument(str(path), refusal.status, refusal.page_count, reason=refusal.reason)


def finish(path: Path, reading: Reading) -> ExtractedDocument:
    """The pages as they will be chunked. Changes the lines of `reading` in place."""
    for page in reading.pages:
        page.lines = _cleaned(page.lines)
    remove_furniture(reading.pages)
    for page in reading.pages:
        order_columns(page)
    texts = join_hyphens([page_text(page.lines) for page in reading.pages])
    pages = _with_sections(reading, texts)
    status, reason = _outcome(reading, pages)
    return ExtractedDocument(str(path), status, reading.page_count, _cleaned_metadata(reading.metadata), pages, reason)


def _cleaned(lines: list[Line]) -> list[Line]:
    if is_clean("".join([line.text for line in lines])):
        return lines
    return [line if text == line.text else line._replace(text=text) for line in lines if (text := clean(line.text))]


# What programs write where nobody is named.
NO_AUTHORS = frozenset({"untitled", "no title", "(anonymous)", "anonymous", "unspecified"})


def _cleaned_metadata(metadata: Metadata) -> Metadata:
    title, author, subject, language = (
        " ".join(clean(value).split())
        for value in (metadata.title, metadata.author, metadata.subject, metadata.language)
    )
    author = "" if author.lower() in NO_AUTHORS else author
    return Metadata(given_title(title), author, subject, language, metadata.created, metadata.modified)


def _provisional(page: RawPage) -> Page:
    return Page(page.number, clean(page.label), page_text(_cleaned(page.lines)), page.status, note=page.note)


def _with_sections(reading: Reading, texts: Sequence[str]) -> tuple[Page, ...]:
    entries = outline_paths(reading.outline or infer_outline(reading.pages))
    path: tuple[str, ...] = ()
    pages: list[Page] = []
    following = 0
    for raw, text in zip(reading.pages, texts, strict=True):
        first = following
        while following < len(entries) and entries[following].page <= raw.number:
            following += 1
        sections, path = place_sections(text, path, entries[first:following])
        status = PageStatus.BLANK if raw.status is PageStatus.TEXT and not text else raw.status
        pages.append(Page(raw.number, clean(raw.label), text, status, sections, raw.note))
    return tuple(pages)


def _outcome(reading: Reading, pages: Sequence[Page]) -> tuple[DocumentStatus, str]:
    """How the document ended, and one line for a person about what is missing."""
    failed = [page for page in pages if page.status is PageStatus.FAILED]
    silent = [page for page in pages if page.status in (PageStatus.IMAGE_ONLY, PageStatus.BLANK)]
    has_text = len(failed) + len(silent) < len(pages)
    said = [reading.reason] if reading.reason else []
    said += [f"{_named(failed)} failed: {failed[0].note}"] if failed else []
    if has_text:
        said += [f"{_named(silent)} without text"] if silent else []
        return DocumentStatus.PARTIAL if failed else DocumentStatus.INDEXED, "; ".join(said)
    if said and (failed or all(page.status is PageStatus.BLANK for page in silent)):
        return DocumentStatus.CORRUPT, "; ".join(said)
    images = sum(page.status is PageStatus.IMAGE_ONLY for page in pages)
    note = next((page.note for page in silent if page.note), "")
    what = f"{images} of {len(pages)} pages are images without text" if images else "every page is blank"
    return DocumentStatus.NO_TEXT, f"{what}; {note}" if note else what


def _named(pages: Sequence[Page]) -> str:
    """ "page 3" or "pages 3-5, 9"."""
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and ranges[-1][1] == page.number - 1:
            ranges[-1][1] = page.number
        else:
            ranges.append([page.number, page.number])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges[:_NAMED_PAGES])
    more = ", …" if len(ranges) > _NAMED_PAGES else ""
    return f"page{'s' if len(pages) > 1 else ''} {shown}{more}"
