"""Text of image-only pages, recognised by tesseract (Debian package tesseract-ocr) where it is installed."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from kb.config import ExtractionSettings
from kb.extract.images import pgm
from kb.extract.layout import Line, RawPage
from kb.extract.pdfium_reader import PdfiumReader
from kb.types import PageStatus

__all__ = ["recognise"]

_SCALE = 300 / 72  # 300 dots per inch, what tesseract's models were made for
_PAGE_SECONDS = 60  # an easy page takes 1, a full one 10
_PARAGRAPH_GAP = 1.5  # how far paragraphs are set apart, in lines, so that they are told apart again
_LINE_HEIGHT = 12.0  # points; tesseract's text has no places


def recognise(page: RawPage, reader: PdfiumReader, settings: ExtractionSettings) -> None:
    """Fill `page`, in place, with what tesseract reads in its picture; where it cannot, the page's note says why."""
    if settings.ocr == "off":
        return
    program = _program()
    if program is None:
        page.note = "OCR needs tesseract: install the package tesseract-ocr"
        return
    try:
        text = _run(program, pgm(*reader.render(page.number, _SCALE)), settings)
    except subprocess.TimeoutExpired:
        page.note = f"OCR took over {_PAGE_SECONDS} s"
    except (OSError, RuntimeError) as error:
        page.note = f"OCR failed: {error}"
    else:
        page.lines = _laid_out(text.splitlines())
        page.status = PageStatus.OCR if page.lines else page.status
        page.note = f"recognised by tesseract ({settings.ocr_languages})" if page.lines else "OCR found no text"


@cache
def _program() -> str | None:
    return shutil.which("tesseract")


def _run(program: str, picture: bytes, settings: ExtractionSettings) -> str:
    """What tesseract reads in `picture`. Raises RuntimeError with its message where it fails."""
    command = [program, "stdin", "stdout", "-l", settings.ocr_languages, "--dpi", "300"]
    one_core = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=one_core)
    with process:
        with suppress(OSError):  # a worker that is killed leaves it behind: it must end by itself
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (_PAGE_SECONDS, _PAGE_SECONDS))
        try:
            output, messages = process.communicate(picture, timeout=_PAGE_SECONDS)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = messages.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"]
        raise RuntimeError(said[0][:160])
    return output.decode("utf-8", errors="replace")


def _laid_out(lines: Sequence[str]) -> list[Line]:
    """The lines with even places from the top, an empty line as a gap."""
    laid_out: list[Line] = []
    bottom = 0.0
    for line in lines:
        text = line.strip()
        bottom -= _LINE_HEIGHT if text else _LINE_HEIGHT * (_PARAGRAPH_GAP - 1)
        if text:
            laid_out.append(Line(text, 0.0, bottom, float(len(text)), bottom + 0.8 * _LINE_HEIGHT))
    return laid_out
