"""Small PDFs made by the tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

LINE = 16
MARGIN = 72


def make_pdf(
    path: Path,
    pages: Sequence[str],
    *,
    title: str = "",
    outline: Sequence[tuple[str, int]] = (),
    password: str = "",
    owner_password: str = "",
) -> Path:
    """A PDF with these texts; `outline` names a heading and the page, from 1, that it stands on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    if title:
        canvas.setTitle(title)
    for number, text in enumerate(pages, start=1):
        for heading, page in outline:
            if page == number:
                canvas.bookmarkPage(heading)
                canvas.addOutlineEntry(heading, heading, 0)
        height = A4[1] - MARGIN
        for line in text.splitlines():
            canvas.drawString(MARGIN, height, line)
            height -= LINE
        canvas.showPage()
    canvas.save()
    if password or owner_password:
        writer = PdfWriter(clone_from=PdfReader(path))
        writer.encrypt(password, owner_password or None, algorithm="AES-256")
        writer.write(path)
    return path


def write_config(folder: Path, base_url: str, **embedder: Any) -> Path:
    """A configuration for an endpoint, its store beside it; it tries a failed request once more, and soon."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    settings = {"base_url": base_url, "model": "all-MiniLM-L6-v2", "retries": 1, "backoff_factor": 0.01, **embedder}
    file.write_text(json.dumps({"pdf_knowledge": {"embedder": settings}}), "utf-8")
    return file


def copies(folder: Path, times: int) -> Path:
    """The sample PDFs several times over; a comment at the end makes each copy a document of its own."""
    folder.mkdir(parents=True)
    for number in range(times):
        for sample in sorted((Path(__file__).parent / "data" / "pdfs").glob("*.pdf")):
            (folder / f"{number} {sample.name}").write_bytes(sample.read_bytes() + f"\n% {number}\n".encode())
    return folder
