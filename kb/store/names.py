"""File names and title before the text of a page: "3M's capital expenditure in 2018" is often said in no sentence.

Content lies in the store once, however many files have it; a page of it is found by the name of each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from kb.store.filters import quoted_list
from kb.store.tables import upsert
from kb.types import ContentKey, Document

__all__ = ["Changes", "name_pages", "names_of", "renamed"]

# What stands between the words of a file name.
SEPARATORS = re.compile(r"[\W_]+")
# A file that was copied into every folder is found by so many of its names.
MOST_NAMES = 20
PAGES_AT_ONCE = 2_000

Changes = Mapping[ContentKey, tuple[Sequence[Document], Sequence[Document]]]


def names_of(documents: Sequence[Document]) -> str:
    """What stands before the text of their pages: file names and the title, a line each."""
    names = dict.fromkeys(SEPARATORS.sub(" ", PurePath(document.path).stem).strip() for document in documents)
    return "\n".join([*list(names)[:MOST_NAMES], documents[0].title, ""])


def renamed(searched: str, before: Sequence[Document], after: Sequence[Document]) -> str:
    """The text of a page with the names of `after` in place of those of `before`, or of one of them, or of none."""
    names = names_of(after)
    known = (names, names_of(before), *(names_of([document]) for document in before))
    longest = max((len(start) for start in known if searched.startswith(start)), default=0)
    return names + searched[longest:]


def name_pages(pages: Any, changes: Changes) -> None:
    """Puts other names before the pages of some contents, whose documents were and are these."""
    for batch in _batches(changes):
        doc_ids = quoted_list([doc_id for doc_id, _ in batch])
        rows = [
            row | {"searched_text": searched}
            for row in pages.search().where(f"doc_id IN ({doc_ids})").to_list()
            if (change := changes.get((row["doc_id"], row["recipe"]))) is not None
            and (searched := renamed(row["searched_text"], *change)) != row["searched_text"]
        ]
        if rows:
            upsert(pages, "page_id", pa.Table.from_pylist(rows, schema=pages.schema))


def _batches(changes: Changes) -> Iterator[list[ContentKey]]:
    batch: list[ContentKey] = []
    count = 0
    for content, (_, after) in changes.items():
        batch.append(content)
        count += after[0].page_count
        if count >= PAGES_AT_ONCE:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch
