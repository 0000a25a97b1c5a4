"""Texts to measure a model with: those of the project's sample PDFs, of its own sources, or the user's."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Passages", "passages"]

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "tests" / "data" / "pdfs"
WORDS, QUERY_WORDS = 100, 10


@dataclass(frozen=True, slots=True)
class Passages:
    """Passages, questions (a few words out of every so many passages), and where they are from."""

    texts: Sequence[str]
    queries: Sequence[str]
    origin: str


def passages(given: Path | None, *, number: int, queries: int) -> Passages:
    """At most so many, taken evenly from all there are. Raises ValueError where there are too few to measure with."""
    texts, origin = _found(given)
    taken = [texts[at * len(texts) // number] for at in range(number)] if len(texts) > number else texts
    if len(taken) < 20:
        raise ValueError(f"{origin} has {len(taken)} passages of {WORDS} words; at least 20 are needed")
    asked = [_middle(taken[at * len(taken) // queries]) for at in range(min(queries, len(taken)))]
    return Passages(taken, asked, origin)


def _found(given: Path | None) -> tuple[list[str], str]:
    has_pdfium = importlib.util.find_spec("pypdfium2") is not None
    if given is None and SAMPLES.is_dir() and has_pdfium:
        return _cut(_pages(sorted(SAMPLES.glob("*.pdf")))), "the sample PDFs"
    if given is None:
        return _cut(_docstrings(sorted(HERE.glob("*.py")))), "the server's own documentation"
    if given.suffix.lower() != ".pdf" and given.is_file():
        return [line for line in given.read_text("utf-8").splitlines() if line.strip()], str(given)
    files = sorted(given.rglob("*.pdf")) if given.is_dir() else [given]
    if not has_pdfium:
        raise ValueError(f"{given}: reading PDFs needs pypdfium2 (pip install pypdfium2), or give a text a line")
    return _cut(_pages(files)), str(given)


def _pages(files: Iterable[Path]) -> Iterator[str]:
    import pypdfium2

    for file in files:
        with pypdfium2.PdfDocument(file) as document:
            for page in document:
                yield page.get_textpage().get_text_range()


def _docstrings(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def _cut(pieces: Iterable[str]) -> list[str]:
    words = " ".join(pieces).split()
    return [" ".join(words[at : at + WORDS]) for at in range(0, len(words), WORDS)]


def _middle(text: str) -> str:
    words = text.split()
    start = max(0, (len(words) - QUERY_WORDS) // 2)
    return " ".join(words[start : start + QUERY_WORDS])
