"""What belongs together on a page: one hit for it, its passage going on into neighbours that answer as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kb.search.fusion import Fused, PageKey, page_of

__all__ = ["at_most_per_page", "merged"]

# A neighbour is worth reading on where it has at least this share of the passage's own score.
WORTH = 0.5
# Characters. Where less is the same it is chance, a word said twice, and stays.
LEAST_SHARED = 20


def at_most_per_page(items: Sequence[Fused], most: int) -> list[Fused]:
    """Items in their order, the best `most` of each page; 0 keeps all."""
    seen: dict[PageKey, int] = {}
    kept: list[Fused] = []
    for item in items:
        count = seen[page_of(item.row)] = seen.get(page_of(item.row), 0) + 1
        if not most or count <= most:
            kept.append(item)
    return kept


def merged(item: Fused, others: Sequence[Fused]) -> Fused:
    """The item with the text of chunks just before and after it on its page that score well themselves."""
    worth = {
        other.row["position"]: other.row["text"]
        for other in others
        if page_of(other.row) == page_of(item.row) and other.score >= WORTH * item.score
    }
    position = item.row["position"]
    texts = [item.row["text"]]
    for step in (-1, 1):
        place = position + step
        while place in worth:
            texts = [worth[place], *texts] if step < 0 else [*texts, worth[place]]
            place += step
    if len(texts) == 1:
        return item
    text = texts[0]
    for following in texts[1:]:
        text = _joined(text, following)
    return replace(item, row={**item.row, "text": text})


def _joined(first: str, second: str) -> str:
    """Two chunks as they stand on the page: what they share (chunking.overlap) once."""
    for size in range(min(len(first), len(second)), LEAST_SHARED - 1, -1):
        if first.endswith(second[:size]):
            return first + second[size:]
    return f"{first}\n{second}"
