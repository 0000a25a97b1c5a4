"""A fused chunk becomes a hit: cited to document and page."""

from __future__ import annotations

from collections.abc import Sequence

from kb.chunk import SECTION_SEPARATOR
from kb.search.fusion import Fused
from kb.search.marks import sentences_that_match
from kb.store import Filter
from kb.types import Document, Hit

__all__ = ["hit_of"]


def hit_of(
    item: Fused, *, rank: int, documents: Sequence[Document], where: Filter | None = None, question: str = ""
) -> Hit:
    """The hit, cited by the first of the documents with its content that the filter lets through."""
    row = item.row
    cited = [document for document in documents if where is None or where.accepts(document)] or documents
    first = cited[0]
    return Hit(
        rank=rank,
        score=round(item.score, 6),
        document=first.path,
        doc_id=row["doc_id"],
        chunk_id=row["chunk_id"],
        page=row["page"],
        last_page=row["last_page"],
        page_label=row["page_label"],
        section=SECTION_SEPARATOR.join(row["section"]),
        title=first.title,
        text=row["text"],
        also_in=tuple(document.path for document in documents if document is not first),
        channels=item.ranks,
        marks=sentences_that_match(row["text"], question) if question else (),
    )
