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
