"""Conditions such as "page>=3" or "author~smith": a field, a comparison and a value, which is never anything else."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kb.errors import QueryError
from kb.store.dates import parse_date
from kb.types import Document

__all__ = ["Condition", "parse_condition"]

_FORM = re.compile(r"\s*([a-z_]+)\s*(>=|<=|!=|=|~|>|<)\s*(.*?)\s*", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_TEXTS: dict[str, Callable[[Document], str]] = {
    "document": lambda document: document.path,
    "name": lambda document: document.path.rsplit("/", 1)[-1],
    "title": lambda document: document.title,
    "author": lambda document: document.author,
    "status": lambda document: str(document.status),
}
_TIMES: dict[str, Callable[[Document], datetime | None]] = {
    "created": lambda document: document.created,
    "modified": lambda document: document.modified,
    "ingested": lambda document: document.ingested_at,
}
_FIELDS = ("page", "pages", *_TEXTS, *_TIMES)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. Texts are compared with case ignored; "~" means: has this in it."""

    field: str
    comparison: str
    value: str | int | datetime

    @property
    def of_pages(self) -> bool:
        """Whether it chooses among pages, not among documents."""
        return self.field == "page"

    @property
    def sql(self) -> str:
        """As a condition on the page's number."""
        return f"page {self.comparison} {int(str(self.value))}"

    def accepts(self, document: Document) -> bool:
        """Whether a document may answer; one that does not tell the value may not."""
        if self.of_pages:
            return True
        if self.field == "pages":
            return _COMPARE[self.comparison](document.page_count, self.value)
        if self.field in _TIMES:
            told = _TIMES[self.field](document)
            return told is not None and _COMPARE[self.comparison](told, self.value)
        text, wanted = _TEXTS[self.field](document).casefold(), str(self.value).casefold()
        return wanted in text if self.comparison == "~" else _COMPARE[self.comparison](text, wanted)


def parse_condition(text: str) -> Condition:
    """A condition as it is typed. Raises QueryError, which names the fields."""
    match = _FORM.fullmatch(text)
    if not match or match[1] not in _FIELDS:
        fix = f'Write FIELD=VALUE (or != > >= < <= ~), with a field of: {", ".join(_FIELDS)}; as in "page>=3".'
        raise QueryError(f"{text[:60]!r} is not a condition", where="where", fix=fix)
    field, comparison, value = match.groups()
    if field in ("page", "pages"):
        if comparison == "~" or not re.fullmatch(r"\d{1,9}", value):
            raise QueryError(f"{value[:40]!r} is not a number", where=f"where: {field}", fix="Write page>=3.")
        return Condition(field, comparison, int(value))
    if field in _TIMES:
        if comparison == "~":
            raise QueryError(f"{field} is a date", where="where", fix=f"Write {field}>=2022-05-31.")
        return Condition(field, comparison, parse_date(value, end_of_day=comparison in (">", "<=")))
    return Condition(field, comparison, value)
