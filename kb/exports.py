"""Hits as files of other programs: CSV for a spreadsheet, BibTeX for a bibliography."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping

from kb.types import Document, Hit

__all__ = ["to_bibtex", "to_csv"]

COLUMNS = ("rank", "score", "document", "page", "page_label", "section", "title", "citation", "text")
# What a spreadsheet would take for a formula: the text of a PDF must never become one.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {letter: "\\" + letter for letter in "&%$#_{}"}


def to_csv(hits: Iterable[Hit]) -> str:
    """One line a hit, with a heading; opens in a spreadsheet as it is."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for hit in hits:
        writer.writerow([_cell(getattr(hit, column)) for column in COLUMNS])
    return stream.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def to_bibtex(hits: Iterable[Hit], documents: Mapping[str, Document]) -> str:
    """One entry a document, with the pages of its hits."""
    pages: dict[str, set[int]] = {}
    for hit in hits:
        pages.setdefault(hit.document, set()).update(range(hit.page, hit.last_page + 1))
    entries: dict[str, str] = {}
    for path, cited in pages.items():
        key = _key(path, entries)
        entries[key] = _entry(key, path, documents.get(path), sorted(cited))
    return "\n".join(entries.values())


def _key(path: str, taken: Mapping[str, str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9]+", "-", path.rsplit("/", 1)[-1].rsplit(".", 1)[0]).strip("-").lower() or "document"
    number = sum(re.fullmatch(rf"{re.escape(stem)}(-\d+)?", key) is not None for key in taken)
    return f"{stem}-{number + 1}" if number else stem


def _entry(key: str, path: str, document: Document | None, pages: list[int]) -> str:
    name = path.rsplit("/", 1)[-1]
    created = document.created if document else None
    fields = {
        "title": (document.title if document else "") or name,
        "author": document.author if document else "",
        "year": str(created.year) if created else "",
        "pages": ", ".join(map(str, pages)),
        "howpublished": f"PDF, {name}",
    }
    lines = [f"  {field} = {{{_latex(value)}}}," for field, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}", ""])


def _latex(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))
