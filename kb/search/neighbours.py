"""What belongs together on a page: one hit for it, its passage going on into neighbours that answer as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kb.search.fusion import Fused, PageKey

__all__ = ["at_most_per_page", "merged", "worth_reading_on"]

# A neighbour is worth reading on where it has at least this share of the passage's own score.
WORTH = 0.5
# Characters. Where less is the same it is chance, a word said twice, and stays.
LEAST_SHARED = 20


def at_most_per_page(items: Sequence[Fused], most: int) -> list[Fused]:
    """Items in their order, the best `most` of each page; 0 keeps all."""
    seen: dict[PageKey, int] = {}
    kept: list[Fused] = []
    for item in items:
        count = seen[item.page] = seen.get(item.page, 0) + 1
        if not most or count <= most:
            kept.append(item)
    return kept


def worth_reading_on(item: Fused, others: Sequence[Fused]) -> list[Fused]:
    """The item with the chunks just before and after it on its page that score well themselves, in reading order."""
    worth = {
        other.row["position"]: other
        for other in others
        if other.page == item.page and other.score >= WORTH * item.score
    }
    run = [item]
    for step in (-1, 1):
        place = item.row["position"] + step
        while place in worth:
            run = [worth[place], *run] if step < 0 else [*run, worth[place]]
            place += step
    return run


def merged(item: Fused, run: Sequence[Fused]) -> Fused:
    """The item with the text of all that is read with it."""
    if len(run) == 1:
        return item
    text = run[0].row["text"]
    for following in run[1:]:
        text = _joined(text, following.row["text"])
    return replace(item, row={**item.row, "text": text})


def _joined(first: str, second: str) -> str:
    """Two chunks as they stand on the page: what they share (chunking.overlap) once."""
    for size in range(min(len(first), len(second)), LEAST_SHARED - 1, -1):
        if first.endswith(second[:size]):
            return first + second[size:]
    return f"{first}\n{second}"
