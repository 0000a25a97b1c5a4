"""Several lists become one order: scores scaled list by list, added up for passage, page and document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from kb.store import Candidate

__all__ = ["Fused", "Fusion", "PageKey"]

# A page is a larger unit than a chunk: (content, recipe, page number).
PageKey = tuple[str, str, int]

# Lists that leave out what has a score of 0, which is their worst.
FROM_ZERO = ("pair", "figure")
# Lists of words: where the best hardly stands out, the question's words stand everywhere and tell little.
OF_WORDS = ("text", "page")
# How far their best stands out, as a part of its score, where they count in full: 0.73 and 0.83 in the median of 617
# questions on 44 documents, 0.51 and 0.57 of 362 on 93 manuals and reports, 0.35 and 0.41 of 129 on 74 annual reports.
STANDING_OUT = 0.7
# Cosines that lie closer together than this are the same: of a handful of passages, all alike, none is the worst.
LEAST_SPREAD = {"vector": 0.1}
# Pages that speak for their document: one good page may be chance, a long document has many middling ones.
SPEAKING_PAGES = 3

# Reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009.
RRF_K = 60


@dataclass(slots=True)
class Fused:
    """A chunk on its way to a hit: its row, its score so far, its rank and its share of the best in each list."""

    row: dict[str, Any]
    score: float = 0.0
    ranks: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    page: PageKey = field(init=False)

    def __post_init__(self) -> None:
        self.page = page_of(self.row)


class Fusion:
    """Lists that become one order, which does not depend on chance and may be asked for again after one more list.

    A chunk's score is the weighted sum of its shares and of its page's; the best chunk of a page stands for the page,
    with the best share that any of the page's chunks has in each list. A share is the score scaled to the best and the
    worst of its list ("score"), or made of the rank alone ("rrf"), which wastes how sure full text is. Lists of words
    count by how far their best stands out; one with less than `limit` has all there is, and 0 is its worst. The
    document whose best pages are best of all lifts its chunks by the weight "document", as a part of the best score.
    """

    def __init__(
        self, lists: Mapping[str, Sequence[Candidate]], *, limit: int, method: Literal["score", "rrf"] = "score"
    ) -> None:
        self._shares_of = partial(_scaled, limit=limit) if method == "score" else _reciprocal
        self._by_rank = method == "rrf"
        self._items: dict[tuple[str, str, int], Fused] = {}
        self._pages: dict[PageKey, tuple[int, float]] = {}
        for name, candidates in lists.items():
            self.add(name, candidates)

    def add(self, name: str, candidates: Sequence[Candidate]) -> None:
        """One more list: of pages where it is called "page", else of chunks."""
        for rank, (candidate, share) in enumerate(self._shares_of(candidates, name), start=1):
            if name == "page":
                self._pages.setdefault(page_of(candidate.row), (rank, share))
                continue
            passage = passage_of(candidate.row)
            item = self._items.get(passage)
            if item is None:
                item = self._items[passage] = Fused(candidate.row)
            if name not in item.ranks:  # the same chunk may lie in two collections
                item.ranks[name], item.shares[name] = rank, share

    def rate(self, name: str, share_of: Callable[[Mapping[str, Any]], float]) -> None:
        """A list of all chunks by the share, from 0 to 1, that each row has; in the place of one of this name."""
        shares = {passage: share_of(item.row) for passage, item in self._items.items()}
        ranks = {share: rank for rank, share in enumerate(sorted({*shares.values()} - {0.0}, reverse=True), start=1)}
        for passage, item in self._items.items():
            item.ranks.pop(name, None)
            item.shares.pop(name, None)
            if rank := ranks.get(shares[passage]):
                item.ranks[name] = rank
                item.shares[name] = 1.0 / (RRF_K + rank) if self._by_rank else shares[passage]

    def ranked(self, weights: Mapping[str, float]) -> list[Fused]:
        """The chunks, best first, each with its score and ranks."""
        by_page: dict[PageKey, list[Fused]] = {}
        for item in self._items.values():
            if (found := self._pages.get(item.page)) is not None:
                item.ranks["page"], item.shares["page"] = found
            item.score = _weighted(item.shares, weights)
            by_page.setdefault(item.page, []).append(item)
        for items in by_page.values():
            if len(items) > 1:
                _lift_best(items, weights)
        if weights.get("document"):
            _lift_by_document(by_page, weights["document"])
        return sorted(self._items.values(), key=_order)


def page_of(row: Mapping[str, Any]) -> PageKey:
    """The page that a row stands on."""
    return row["doc_id"], row["recipe"], row["page"]


def passage_of(row: Mapping[str, Any]) -> tuple[str, str, int]:
    """What a chunk is known by: its content and its place in it, whatever collection it lies in."""
    return row["doc_id"], row["recipe"], row["position"]


def _weighted(shares: Mapping[str, float], weights: Mapping[str, float]) -> float:
    score = 0.0
    for name, share in shares.items():  # sum() takes twice as long, and there are hundreds
        score += weights[name] * share
    return score


def _lift_best(items: Sequence[Fused], weights: Mapping[str, float]) -> None:
    most: dict[str, float] = {}
    for item in items:
        for name, share in item.shares.items():
            most[name] = max(share, most.get(name, 0.0))
    min(items, key=_order).score = _weighted(most, weights)


def _lift_by_document(by_page: Mapping[PageKey, Sequence[Fused]], weight: float) -> None:
    best_of_pages: dict[str, list[float]] = {}
    for (doc_id, _, _), items in by_page.items():
        best_of_pages.setdefault(doc_id, []).append(max([item.score for item in items]))
    speaking = {doc_id: sum(sorted(scores)[-SPEAKING_PAGES:]) for doc_id, scores in best_of_pages.items()}
    most = max(speaking.values(), default=0.0) or 1.0
    best = max((score for scores in best_of_pages.values() for score in scores), default=0.0)
    ranked = sorted(speaking, key=lambda name: -speaking[name])
    lifts = {doc_id: (rank, weight * best * speaking[doc_id] / most) for rank, doc_id in enumerate(ranked, start=1)}
    for (doc_id, _, _), items in by_page.items():
        rank, lift = lifts[doc_id]
        for item in items:
            item.ranks["document"] = rank
            item.score += lift


def _order(item: Fused) -> tuple[float, str, int]:
    return -item.score, item.row["doc_id"], item.row["position"]


def _scaled(candidates: Iterable[Candidate], name: str, *, limit: int) -> list[tuple[Candidate, float]]:
    """Candidates, best first, with shares from 0 (the worst of the list) to about 1 (the best)."""
    ordered = sorted(candidates, key=lambda candidate: -candidate.score)
    if not ordered:
        return []
    best, worst = ordered[0].score, ordered[-1].score
    if name in FROM_ZERO or (name in OF_WORDS and len(ordered) < limit):
        worst = 0.0
    spread = best - worst
    if name in OF_WORDS:
        most, full = (spread / best / STANDING_OUT if spread > 0 else 1.0), best * STANDING_OUT
    else:
        most, full = 1.0, max(spread, LEAST_SPREAD.get(name, 0.0))
    return [(candidate, most - (best - candidate.score) / full if full > 0 else most) for candidate in ordered]


def _reciprocal(candidates: Iterable[Candidate], _: str) -> list[tuple[Candidate, float]]:
    ordered = sorted(candidates, key=lambda candidate: -candidate.score)
    return [(candidate, 1.0 / (RRF_K + rank)) for rank, candidate in enumerate(ordered, start=1)]
