"""What the extraction tests share: settings, and small odd PDFs made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from kb.config import ExtractionSettings

MakePdf = Callable[..., Path]


@pytest.fixture
def settings() -> ExtractionSettings:
    """The defaults."""
    return ExtractionSettings()


@pytest.fixture
def make_pdf(tmp_path: Path) -> MakePdf:
    """Makes a PDF of the given pages, each a list of lines from the top, 14 points apart unless a line is empty."""

    def make(pages: Sequence[Sequence[str]], name: str = "made.pdf", **information: str) -> Path:
        path = tmp_path / name
        path.write_bytes(pdf_of(pages, **information))
        return path

    return make


@pytest.fixture
def make_bomb(tmp_path: Path) -> MakePdf:
    """Makes a PDF with a page that takes for ever and all memory, after (or at `position` among) harmless ones."""

    def make(harmless_pages: int, position: int | None = None) -> Path:
        path = tmp_path / "bomb.pdf"
        path.write_bytes(bomb(harmless_pages, harmless_pages if position is None else position))
        return path

    return make


@pytest.fixture
def make_raw_pdf(tmp_path: Path) -> MakePdf:
    """Makes a PDF of one page with the given content stream."""

    def make(content: bytes, name: str = "raw.pdf") -> Path:
        page = b"<< /Type /Page /Parent 2 0 R /Resources << /Font << /F1 5 0 R >> >> /Contents 4 0 R >>"
        objects = [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [ 3 0 R ] /Count 1 /MediaBox [0 0 595 842] >>",
            page,
            stream(content),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
        path = tmp_path / name
        path.write_bytes(raw_pdf(objects))
        return path

    return make


def pdf_of(pages: Sequence[Sequence[str]], **information: str) -> bytes:
    """A PDF with Helvetica 10 on A4; `information` is title, author, subject."""
    output = io.BytesIO()
    canvas = Canvas(output, pagesize=A4)
    for key, value in information.items():
        getattr(canvas, f"set{key.title()}")(value)
    for lines in pages:
        canvas.setFont("Helvetica", 10)
        for index, line in enumerate(lines):
            canvas.drawString(72, 780 - 14 * index, line)
        canvas.showPage()
    canvas.save()
    return output.getvalue()


def raw_pdf(objects: Sequence[bytes]) -> bytes:
    """A PDF file of `objects`, numbered from 1; the first is the catalog."""
    output = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(output))
        output += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(output)
    output += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    output += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    output += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(output)


def stream(content: bytes, dictionary: bytes = b"") -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (dictionary, len(content), content)


def bomb(harmless_pages: int, position: int, levels: int = 12) -> bytes:
    """Pages with a line of text each; that at `position` has a form that draws ten that draw ten … `levels` deep."""
    first_page, count = 4, harmless_pages + 1
    pages = b" ".join(b"%d 0 R" % (first_page + 2 * index) for index in range(count))
    first_form = first_page + 2 * count
    font = b"/Font << /F1 3 0 R >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [ %s ] /Count %d /MediaBox [0 0 595 842] >>" % (pages, count),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for index in range(count):
        is_bomb = index == position
        resources = b"/XObject << /X %d 0 R >>" % first_form if is_bomb else font
        content = b"/X Do" if is_bomb else b"BT /F1 12 Tf 72 700 Td (Harmless page %d) Tj ET" % (index + 1)
        contents = first_page + 2 * index + 1
        objects += [
            b"<< /Type /Page /Parent 2 0 R /Resources << %s >> /Contents %d 0 R >>" % (resources, contents),
            stream(content),
        ]
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] /Resources << %s >>"
    for level in range(levels):
        inner = b"/XObject << /X %d 0 R >>" % (first_form + level + 1)
        objects.append(stream(b"/X Do " * 10, form % inner))
    objects.append(stream(b"BT /F1 12 Tf 72 700 Td (boom) Tj ET", form % font))
    return raw_pdf(objects)
