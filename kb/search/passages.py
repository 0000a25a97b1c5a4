"""What is shown of chunks, read once it is known which: lists of candidates bring only where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kb.chunk import chunk_id_of
from kb.search.fusion import Fused
from kb.store import PLACE, Store

__all__ = ["MovedError", "complete"]

# "searched_text" is title, section and text, as full text searches them. Where a row stands tells its chunk's id.
SHOWN = (*PLACE, "last_page", "page_label", "section", "text", "searched_text")


class MovedError(Exception):
    """An ingest has moved rows since the lists were made: they are to be made again."""


def complete(stores: Sequence[Store], items: Sequence[Fused]) -> None:
    """Reads the passages into the rows of the items. Raises MovedError."""
    waiting = [item for item in items if "text" not in item.row]
    for item, row in zip(waiting, _read(stores, waiting), strict=True):
        if any(row[name] != item.row[name] for name in PLACE):
            raise MovedError  # the table was written anew: the row of this number is another now
        item.row.update(row, chunk_id=chunk_id_of(row["doc_id"], row["recipe"], row["position"]))


def _read(stores: Sequence[Store], items: Sequence[Fused]) -> list[dict[str, Any]]:
    places = [(item.row["collection"], item.row["_rowid"]) for item in items]
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for number, store in enumerate(stores):
        row_ids = [row_id for collection, row_id in places if collection == number]
        found |= {(number, row_id): row for row_id, row in store.details(row_ids, SHOWN).items()}
    if not found.keys() >= set(places):
        raise MovedError
    return [found[place] for place in places]
