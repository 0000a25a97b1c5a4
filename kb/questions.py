"""Questions with known answers: read from a file, or made from what the documents themselves say.

A file holds JSON lines, `{"query": "…", "relevant": [{"document": "NAME.pdf", "page": 26}]}`: a document by file
name or path, pages counted from 1; without a page any page of the document will do. The marks of the search notebook
are such lines (see `kb.judgements`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kb.errors import QueryError
from kb.store import Store

__all__ = ["Place", "Question", "pages_to_ask_about", "questions_from_headings", "read_questions", "write_questions"]

FIX = 'Each line is {"query": "…", "relevant": [{"document": "NAME.pdf", "page": 26}]}.'
CAPTION = re.compile(r"^(?:Figure|Fig\.|Table|Box|Abbildung|Tabelle)\s*[\w.-]{1,8}\s*[.:|–—-]\s*(\S.{14,160})$", re.M)
WORD = re.compile(r"\w{2,}")
LEAST_WORDS = 3
LEAST_CHARACTERS = 400  # of a page that a language model is asked about


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer stands; `page` None means anywhere in the document."""

    document: str
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A query and every place that answers it."""

    query: str
    relevant: tuple[Place, ...]

    def to_dict(self) -> dict[str, Any]:
        """The question as a line of a file."""
        places = [
            {"document": place.document} | ({"page": place.page} if place.page is not None else {})
            for place in self.relevant
        ]
        return {"query": self.query, "relevant": places}


def read_questions(path: str | os.PathLike[str]) -> list[Question]:
    """The questions of a file, without lines that only say what is wrong. Raises QueryError, which names the line."""
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise QueryError(str(what), where=os.fspath(path), fix="Name a file of JSON lines.") from None
    questions = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            question = _question(line, f"{os.fspath(path)}, line {number}")
            if question.relevant:
                questions.append(question)
    if not questions:
        raise QueryError("there are no questions in it", where=os.fspath(path), fix=FIX)
    return questions


def _question(line: str, where: str) -> Question:
    try:
        told = json.loads(line)
        query, places = told["query"], told["relevant"]
        relevant = tuple(dict.fromkeys(Place(str(place["document"]), _page(place)) for place in places))
    except (ValueError, TypeError, KeyError) as error:
        raise QueryError(f"it cannot be read as a question ({error!r:.80})", where=where, fix=FIX) from None
    if not isinstance(query, str) or not query.strip():
        raise QueryError("the query is no text", where=where, fix=FIX)
    return Question(query, relevant)


def _page(place: Mapping[str, Any]) -> int | None:
    page = place.get("page")
    if page is not None and (isinstance(page, bool) or not isinstance(page, int) or page < 1):
        raise ValueError(f"page {page!r}")
    return page


def write_questions(questions: Iterable[Question], path: str | os.PathLike[str]) -> None:
    """Writes a file that `read_questions` reads, in one step."""
    new = Path(f"{os.fspath(path)}.new")
    lines = (json.dumps(question.to_dict(), ensure_ascii=False) + "\n" for question in questions)
    new.write_text("".join(lines), "utf-8")
    new.replace(path)


def questions_from_headings(store: Store, count: int) -> list[Question]:
    """A first set of questions: headings and captions that stand on one page only, spread over the documents.

    They favour full text, for their words are on the page; add questions of people as soon as there are some. The
    choice is the same each time.
    """
    places: dict[str, set[Place]] = {}
    for text, place in _said(store):
        if len(WORD.findall(text)) >= LEAST_WORDS:
            places.setdefault(" ".join(text.split()), set()).add(place)
    only_once = [Question(text, tuple(found)) for text, found in places.items() if len(found) == 1]
    # By chance, but always the same, and taken in turns, so that a long document has no more than its share.
    only_once.sort(key=lambda question: hashlib.sha256(question.query.encode()).digest())
    turns: Counter[str] = Counter()
    ranked: list[tuple[int, int, Question]] = []
    for question in only_once:
        document = question.relevant[0].document
        ranked.append((turns[document], len(ranked), question))
        turns[document] += 1
    return [question for *_, question in sorted(ranked)[:count]]


def pages_to_ask_about(store: Store, count: int) -> list[tuple[Place, str]]:
    """Pages with enough text to ask about, spread over the documents, the same ones each time."""
    names = {key: documents[0].path.rsplit("/", 1)[-1] for key, documents in store.contents().items()}
    pages = [
        (Place(names[row["doc_id"], row["recipe"]], row["page"]), str(row["text"]))
        for row in store.each("pages", ["doc_id", "recipe", "page", "text"])
        if (row["doc_id"], row["recipe"]) in names and len(row["text"]) >= LEAST_CHARACTERS
    ]
    return sorted(pages, key=lambda page: hashlib.sha256(f"{page[0]}".encode()).digest())[:count]


def _said(store: Store) -> Iterator[tuple[str, Place]]:
    """Every heading and caption with its page."""
    names = {key: documents[0].path.rsplit("/", 1)[-1] for key, documents in store.contents().items()}
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    for row in store.each("chunks", ["doc_id", "recipe", "position", "page", "section"]):
        key = (row["doc_id"], row["recipe"])
        section = tuple(row["section"])
        if key in names and section and (*key, section) not in seen:
            seen.add((*key, section))
            yield section[-1], Place(names[key], row["page"])
    for row in store.each("pages", ["doc_id", "recipe", "page", "text"]):
        key = (row["doc_id"], row["recipe"])
        if key in names:
            for caption in CAPTION.findall(row["text"]):
                yield caption.rstrip("."), Place(names[key], row["page"])
