"""One file to an ExtractedDocument: pages read by pdfium, or by pypdf where pdfium cannot, then tidied together."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kb.config import ExtractionSettings
from kb.extract.clean import clean
from kb.extract.columns import order_columns
from kb.extract.furniture import remove_furniture
from kb.extract.hyphens import join_hyphens, vocabulary
from kb.extract.layout import RawPage
from kb.extract.outline import OutlineEntry, outline_paths, place_sections
from kb.extract.paragraphs import page_text
from kb.extract.pdfium_reader import PDFIUM_LOCK
from kb.extract.reading import Reading, Refused, read_file
from kb.types import DocumentStatus, ExtractedDocument, Metadata, Page, PageStatus

__all__ = ["extract_document", "finish"]


def extract_document(
    path: Path, settings: ExtractionSettings, *, progress: Callable[[Page], None] | None = None
) -> ExtractedDocument:
    """Read `path` in this process. A bad PDF is a status with a reason, never an exception.

    `progress` gets each page as soon as it is read, before the whole document's headers and hyphens are known. No limit
    of time or memory holds here: that is what ExtractionPool is for.
    """
