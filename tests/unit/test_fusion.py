"""Fusing lists: scores scaled list by list, pages lifting their chunks, deterministic order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.search import fuse
from kb.store import Candidate


def chunk(name: str, score: float, page: int = 1) -> Candidate:
    return Candidate({"chunk_id": name, "doc_id": "d", "recipe": "r", "page": page, "position": 0}, score)


def page(number: int, score: float) -> Candidate:
    return Candidate({"doc_id": "d", "recipe": "r", "page": number}, score)


def scores(lists: dict[str, list[Candidate]], **weights: float) -> dict[str, float]:
    every = {"vector": 1.0, "text": 1.0, "page": 1.0} | weights
    return {str(item.row["chunk_id"]): item.score for item in fuse(lists, every)}


def test_a_list_is_scaled_from_its_worst_to_its_best() -> None:
    assert scores({"text": [chunk("a", 30), chunk("b", 20), chunk("c", 10)]}) == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_what_both_lists_find_adds_up() -> None:
    lists = {"vector": [chunk("a", 0.9), chunk("b", 0.1)], "text": [chunk("b", 8), chunk("a", 2)]}
    assert scores(lists, vector=1.0, text=0.5) == {"a": 1.0, "b": 0.5}


def test_a_page_lifts_each_of_its_chunks() -> None:
    lists = {"text": [chunk("a", 2, page=1), chunk("b", 1, page=2)], "page": [page(2, 9), page(1, 3)]}
    assert scores(lists, page=0.5) == {"a": 1.0, "b": 0.5}


def test_ranks_say_which_list_found_it() -> None:
    lists = {"vector": [chunk("a", 0.9), chunk("b", 0.1)], "text": [chunk("b", 8)], "page": [page(1, 3)]}
    ranks: dict[str, Any] = {str(item.row["chunk_id"]): item.ranks for item in fuse(lists, dict.fromkeys(lists, 1.0))}
    assert ranks == {"a": {"vector": 1, "page": 1}, "b": {"vector": 2, "text": 1, "page": 1}}


def test_a_single_candidate_counts_as_the_best() -> None:
    assert scores({"text": [chunk("a", 3.0)]}) == {"a": 1.0}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_scaling_keeps_the_order_and_stays_within_bounds(values: list[float]) -> None:
    found = scores({"text": [chunk(str(index), value) for index, value in enumerate(values)]})
    assert all(0.0 <= score <= 1.0 for score in found.values())
    best = max(range(len(values)), key=lambda index: values[index])
    assert found[str(best)] == pytest.approx(1.0)
