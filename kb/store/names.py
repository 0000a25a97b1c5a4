"""File names and title before the text of a page: "3M's capital expenditure in 2018" is often said in no sentence.

Content lies in the store once, however many files have it; a page of it is found by the name of each of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from kb.store.filters import quoted_list
from kb.store.tables import upsert
from kb.types import ContentKey, Document

__all__ = ["name_pages", "names_of", "renamed"]

# What stands between the words of a file name.
SEPARATORS = re.compile(r"[\W_]+")
# A file that was copied into every folder is found by so many of its names.
MOST_NAMES = 20
DOCUMENTS_AT_ONCE = 20


def names_of(documents: Sequence[Document]) -> str:
    """What stands before the text of their pages: file names and the title, a line each."""
    names = dict.fromkeys(SEPARATORS.sub(" ", PurePath(document.path).stem).strip() for document in documents)
    return "\n".join([*list(names)[:MOST_NAMES], documents[0].title, ""])


def renamed(searched: str, before: Sequence[Document], after: Sequence[Document]) -> str:
    """The text of a page with the names of `after` in place of those of `before`, or of one of them, or of none."""
    names = names_of(after)
    for known in (names, names_of(before), *(names_of([document]) for document in before)):
        if searched.startswith(known):
            return names + searched[len(known) :]
    return names + searched


def name_pages(pages: Any, changes: Mapping[ContentKey, tuple[Sequence[Document], Sequence[Document]]]) -> None:
    """Puts other names before the pages of some contents, whose documents were and are these."""
    keys = list(changes)
    for start in range(0, len(keys), DOCUMENTS_AT_ONCE):
        doc_ids = quoted_list([doc_id for doc_id, _ in keys[start : start + DOCUMENTS_AT_ONCE]])
        rows = [
            row | {"searched_text": searched}
            for row in pages.search().where(f"doc_id IN ({doc_ids})").to_list()
            if (change := changes.get((row["doc_id"], row["recipe"]))) is not None
            and (searched := renamed(row["searched_text"], *change)) != row["searched_text"]
        ]
        if rows:
            upsert(pages, "page_id", pa.Table.from_pylist(rows, schema=pages.schema))
