"""Text of pages that are pictures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kb.config import ExtractionSettings
from kb.extract import ExtractionPool, extract_document, ocr, page_picture
from kb.types import DocumentStatus, PageStatus

MakePdf = Callable[..., Path]

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="needs the Debian package tesseract-ocr")


@pytest.fixture
def scan(make_pdf: MakePdf, tmp_path: Path) -> Path:
    """A page with text, and one that is a picture of text."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    source = make_pdf([["The quarterly margin rose", "because freight became cheaper."]])
    (tmp_path / "page.png").write_bytes(page_picture(source, 1, scale=3.0))
    canvas = Canvas(str(tmp_path / "scan.pdf"))
    canvas.drawString(72, 700, "A page with text")
    canvas.showPage()
    canvas.drawImage(ImageReader(str(tmp_path / "page.png")), 0, 0, 595, 842)
    canvas.showPage()
    canvas.save()
    return tmp_path / "scan.pdf"


def test_without_ocr_the_page_is_named(scan: Path) -> None:
    document = extract_document(scan, ExtractionSettings(ocr="off"))
    assert document.status is DocumentStatus.INDEXED
    assert document.reason == "page 2 without text"
    assert document.pages[1].status is PageStatus.IMAGE_ONLY


@needs_tesseract
def test_with_ocr_the_pages_text_is_recognised(scan: Path) -> None:
    with ExtractionPool(ExtractionSettings(ocr="auto", workers=1)) as pool:
        document = pool.submit(scan).result(timeout=120)
    page = document.pages[1]
    assert (document.status, document.reason, page.status) == (DocumentStatus.INDEXED, "", PageStatus.OCR)
    assert "quarterly margin rose\nbecause freight" in page.text
    assert page.note == "recognised by tesseract (eng)"


@needs_tesseract
@pytest.mark.shared
def test_ocr_reads_the_corpus_scan(shared: Path) -> None:
    document = extract_document(shared / "corpus" / "scan" / "ocr_test.pdf", ExtractionSettings(ocr="auto"))
    wanted = "Docling bundles PDF document conversion to JSON and Markdown in an easy self contained package"
    assert " ".join(document.pages[0].text.split()) == wanted


@needs_tesseract
def test_a_language_that_is_not_installed_is_said_on_the_page(scan: Path) -> None:
    document = extract_document(scan, ExtractionSettings(ocr="auto", ocr_languages="tlh"))
    assert document.pages[1].status is PageStatus.IMAGE_ONLY
    assert "OCR failed" in document.pages[1].note


def test_without_tesseract_the_page_says_what_to_install(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "_program", lambda: None)
    document = extract_document(scan, ExtractionSettings(ocr="auto"))
    assert document.pages[1].note == "OCR needs tesseract: install the package tesseract-ocr"


def test_ocr_that_takes_too_long_is_given_up(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> str:
        raise subprocess.TimeoutExpired("tesseract", 60)

    monkeypatch.setattr(ocr, "_program", lambda: "tesseract")
    monkeypatch.setattr(ocr, "_run", never)
    document = extract_document(scan, ExtractionSettings(ocr="auto"))
    assert document.pages[1].note == "OCR took over 60 s"
