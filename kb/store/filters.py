"""Which documents and pages a search may answer from, as plain values: no query language, nothing to inject."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from kb.errors import QueryError
from kb.store.conditions import Condition
from kb.types import Document

__all__ = ["Filter", "parse_pages", "quoted_list"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Everything given must hold. An empty filter lets everything through."""

    documents: tuple[str, ...] = ()  # any of: a path, a file name, or a pattern with * and ? of either
    title: str = ""  # part of the title, case ignored
    after: datetime | None = None  # the document's creation date (its last change where it has none), inclusive
    before: datetime | None = None
    first_page: int | None = None
    last_page: int | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def of_documents(self) -> bool:
        """Whether it chooses among documents, not only among pages."""
        of_documents = any(not condition.of_pages for condition in self.conditions)
        return bool(self.documents or self.title or self.after or self.before or of_documents)

    def accepts(self, document: Document) -> bool:
        """Whether a document may answer."""
        written = document.created or document.modified
        return (
            (not self.documents or any(_names(pattern, document.path) for pattern in self.documents))
            and self.title.lower() in document.title.lower()
            and (self.after is None or (written is not None and written >= self.after))
            and (self.before is None or (written is not None and written <= self.before))
            and all(condition.accepts(document) for condition in self.conditions)
        )

    def condition(self, documents: Iterable[Document]) -> str | None:
        """The SQL condition on chunks and pages, or None for no condition. `documents` are all of the collection."""
        parts: list[str] = []
        if self.of_documents:
            accepted = sorted({document.doc_id for document in documents if self.accepts(document)})
            parts.append(f"doc_id IN ({quoted_list(accepted)})" if accepted else "false")
        if self.first_page is not None:
            parts.append(f"page >= {int(self.first_page)}")
        if self.last_page is not None:
            parts.append(f"page <= {int(self.last_page)}")
        parts += [condition.sql for condition in self.conditions if condition.of_pages]
        return " AND ".join(parts) or None


def _names(pattern: str, path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return pattern in (path, name) or fnmatchcase(path, pattern) or fnmatchcase(name, pattern)


def quoted_list(values: Sequence[str]) -> str:
    """Values as the inside of an SQL IN (…), every quote doubled."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def parse_pages(text: str) -> tuple[int | None, int | None]:
    """First and last page of "7", "3-9", "3-" or "-9". Raises QueryError."""
    match = re.fullmatch(r"\s*(\d{1,9})?\s*(-)?\s*(\d{1,9})?\s*", text)
    if not match or not (match[1] or match[3]) or (match[1] and match[3] and not match[2]):
        raise QueryError(f"{text[:40]!r} names no pages", where="pages", fix='Write "7", "3-9", "3-" or "-9".')
    first = int(match[1]) if match[1] else None
    last = int(match[3]) if match[3] else (first if not match[2] else None)
    return first, last
