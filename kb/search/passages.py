"""What is shown of chunks, read once it is known which: lists of candidates bring only where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kb.search.fusion import Fused
from kb.store import Store

__all__ = ["MovedError", "complete", "searched_texts"]

SEARCHED_TEXT = "searched_text"
SHOWN = ("chunk_id", "last_page", "page_label", "section", "text")
# Enough to notice that a row is another now, a table written anew while it is searched: each column read costs a
# millisecond, however few rows.
KNOWN_BY = ("doc_id", "position")


class MovedError(Exception):
    """An ingest has moved rows since the lists were made: they are to be made again."""


def complete(stores: Sequence[Store], items: Sequence[Fused]) -> None:
    """Reads the passages into the rows of the items. Raises MovedError."""
    waiting = [item for item in items if "text" not in item.row]
    for item, row in zip(waiting, _read(stores, waiting, (*KNOWN_BY, *SHOWN)), strict=True):
        if any(row[name] != item.row[name] for name in KNOWN_BY):
            raise MovedError
        item.row.update(row)


def searched_texts(stores: Sequence[Store], items: Sequence[Fused]) -> list[str]:
    """Title, section and text of each item, as full text searches them. Raises MovedError."""
    return [str(row[SEARCHED_TEXT]) for row in _read(stores, items, (SEARCHED_TEXT,))]


def _read(stores: Sequence[Store], items: Sequence[Fused], columns: Sequence[str]) -> list[dict[str, Any]]:
    places = [(item.row["collection"], item.row["_rowid"]) for item in items]
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for number, store in enumerate(stores):
        row_ids = [row_id for collection, row_id in places if collection == number]
        found |= {(number, row_id): row for row_id, row in store.details(row_ids, columns).items()}
    if not found.keys() >= set(places):
        raise MovedError
    return [found[place] for place in places]
