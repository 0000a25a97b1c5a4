"""PDF → pages of clean text. pdfium reads, pypdf gives a second opinion; hostile files end as a status, not as a crash.

A page's text keeps its lines (a newline each, so that rows of tables stay rows) and has an empty line between
paragraphs.
"""

from __future__ import annotations

from kb.extract.document import extract_document
from kb.extract.pictures import Rectangle, find_on_page, page_picture
from kb.extract.pool import ExtractionPool

__all__ = ["ExtractionPool", "Rectangle", "extract_document", "find_on_page", "page_picture"]
