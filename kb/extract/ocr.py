"""Text of image-only pages, recognised by tesseract where it is installed."""

from __future__ import annotations

from kb.config import ExtractionSettings
from kb.extract.layout import RawPage
from kb.extract.pdfium_reader import PdfiumReader

__all__ = ["recognise"]


def recognise(page: RawPage, reader: PdfiumReader, settings: ExtractionSettings) -> None:
    """Fill `page`, in place, with what tesseract reads in its picture."""
