"""Fusing lists: scores scaled list by list, a page's best chunk standing for the page, deterministic order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.search import Fused, Fusion
from kb.search.fusion import STANDING_OUT
from kb.store import Candidate

LIMIT = 3  # lists as long as that may have been cut off


def chunk(name: str, score: float, page: int = 1, doc_id: str = "d") -> Candidate:
    position = int.from_bytes(name.encode())
    row = {"chunk_id": name, "doc_id": doc_id, "recipe": "r", "page": page, "position": position, "text": name}
    return Candidate(row, score)


def page(number: int, score: float) -> Candidate:
    return Candidate({"doc_id": "d", "recipe": "r", "page": number}, score)


def fusion_of(lists: Mapping[str, list[Candidate]]) -> Fusion:
    return Fusion(lists, limit=LIMIT)


def by_name(items: list[Fused]) -> dict[str, Fused]:
    return {str(item.row["chunk_id"]): item for item in items}


def scores(lists: dict[str, list[Candidate]], **weights: float) -> dict[str, float]:
    every = {"vector": 1.0, "text": 1.0, "page": 1.0} | weights
    return {name: item.score for name, item in by_name(fusion_of(lists).ranked(every)).items()}


def test_a_list_of_vectors_is_scaled_from_its_worst_to_its_best() -> None:
    lists = {"vector": [chunk("a", 0.9, page=1), chunk("b", 0.8, page=2), chunk("c", 0.7, page=3)]}
    assert scores(lists) == pytest.approx({"a": 1.0, "b": 0.5, "c": 0.0})


@pytest.mark.parametrize(("best", "worst"), [(100, 30), (100, 65), (20, 19)])
def test_a_list_of_words_counts_by_how_far_its_best_stands_out(best: float, worst: float) -> None:
    middle = (best + worst) / 2
    lists = {"text": [chunk("a", best, page=1), chunk("b", middle, page=2), chunk("c", worst, page=3)]}
    standing_out = (best - worst) / best / STANDING_OUT
    assert scores(lists) == pytest.approx({"a": standing_out, "b": standing_out / 2, "c": 0.0})


def test_a_list_of_words_that_is_not_full_has_all_there_is_so_that_the_others_have_none_of_them() -> None:
    lists = {"text": [chunk("a", 8, page=1), chunk("b", 4, page=2)]}
    assert scores(lists) == pytest.approx({"a": 1 / STANDING_OUT, "b": 0.5 / STANDING_OUT})


def test_a_single_candidate_counts_as_the_best() -> None:
    assert scores({"text": [chunk("a", 3.0)]}) == pytest.approx({"a": 1 / STANDING_OUT})
    assert scores({"vector": [chunk("a", 0.3)]}) == {"a": 1.0}


def test_passages_that_are_all_alike_are_not_told_apart_by_their_vectors() -> None:
    lists = {"vector": [chunk("a", 0.9, page=1), chunk("b", 0.88, page=2), chunk("c", 0.87, page=3)]}
    assert scores(lists) == pytest.approx({"a": 1.0, "b": 0.8, "c": 0.7})


def test_what_both_lists_find_adds_up() -> None:
    vector = [chunk("a", 0.9, page=1), chunk("b", 0.1, page=2)]
    text = [chunk("b", 10, page=2), chunk("a", 5, page=1), chunk("c", 3, page=3)]
    found = scores({"vector": vector, "text": text}, vector=1.0, text=0.5)
    assert found == pytest.approx({"a": 1.0 + 0.5 * 2 / 7, "b": 0.5, "c": 0.0})


def test_a_page_lifts_each_of_its_chunks() -> None:
    lists = {"vector": [chunk("a", 2, page=1), chunk("b", 1, page=2)], "page": [page(2, 10), page(1, 5), page(3, 3)]}
    assert scores(lists, page=0.5) == pytest.approx({"a": 1.0 + 0.5 * 2 / 7, "b": 0.5})


def test_the_best_chunk_of_a_page_has_what_its_chunks_are_best_in() -> None:
    text = [chunk("a", 10), chunk("y", 3, page=3), chunk("z", 3, page=4)]
    lists = {"vector": [chunk("b", 0.9), chunk("x", 0.1, page=2)], "text": text}
    assert scores(lists, vector=0.5)["a"] == pytest.approx(1.5)
    assert scores(lists, vector=0.5)["b"] == pytest.approx(0.5)


def test_an_order_that_is_asked_for_again_is_that_of_all_lists_at_once() -> None:
    lists = {"text": [chunk("a", 9), chunk("b", 5, page=2), chunk("c", 1, page=2)], "page": [page(2, 3), page(1, 1)]}
    pairs = [chunk("c", 2, page=2)]
    weights = {"text": 1.0, "page": 1.0, "pair": 0.3, "document": 0.1}
    fusion = fusion_of(lists)
    fusion.ranked(weights)
    fusion.add("pair", pairs)
    at_once = fusion_of(lists | {"pair": pairs}).ranked(weights)
    assert fusion.ranked(weights) == at_once
    assert [item.score for item in at_once] != [item.score for item in fusion_of(lists).ranked(weights)]


def test_ranks_say_which_list_found_it() -> None:
    lists = {"vector": [chunk("a", 0.9), chunk("b", 0.1)], "text": [chunk("b", 8)], "page": [page(1, 3)]}
    found = by_name(fusion_of(lists).ranked(dict.fromkeys(lists, 1.0)))
    assert found["a"].ranks == {"vector": 1, "page": 1}
    assert found["b"].ranks == {"vector": 2, "text": 1, "page": 1}


def test_what_has_no_pair_of_words_is_the_worst_of_that_list() -> None:
    lists = {
        "vector": [chunk("a", 2, page=1), chunk("b", 2, page=2)],
        "pair": [chunk("a", 4, page=1), chunk("b", 3, page=2)],
    }
    assert scores(lists, pair=0.2) == pytest.approx({"a": 1.2, "b": 1.15})


def test_shares_are_told_to_every_chunk_and_may_be_told_anew() -> None:
    shares = {"a": 0.25, "b": 0.5, "c": 0.0}

    def share_of(row: Mapping[str, Any]) -> float:
        return shares[row["chunk_id"]]

    fusion = fusion_of({"vector": [chunk("a", 0.9), chunk("b", 0.9, page=2), chunk("c", 0.9, page=3)]})
    fusion.rate("name", share_of)
    found = by_name(fusion.ranked({"vector": 0.0, "name": 2.0}))
    assert {name: (item.score, item.ranks.get("name")) for name, item in found.items()} == {
        "a": (0.5, 2),
        "b": (1.0, 1),
        "c": (0.0, None),
    }
    shares |= {"a": 0.5, "b": 0.0}
    fusion.rate("name", share_of)
    found = by_name(fusion.ranked({"vector": 0.0, "name": 2.0}))
    assert (found["a"].score, found["a"].ranks["name"]) == (1.0, 1)
    assert (found["b"].score, found["b"].ranks) == (0.0, {"vector": 2})


def test_the_document_whose_pages_are_best_lifts_them() -> None:
    near = [chunk("a", 5, page=1), chunk("x", 4, page=1, doc_id="e"), chunk("y", 3, page=2, doc_id="e"), chunk("z", 0)]
    found = by_name(fusion_of({"vector": near}).ranked({"vector": 1.0, "document": 0.5}))
    assert found["x"].score == pytest.approx(0.8 + 0.5 * 1.0)
    assert found["a"].score == pytest.approx(1.0 + 0.5 * 1.0 / 1.4)
    assert (found["x"].ranks["document"], found["a"].ranks["document"]) == (1, 2)


def test_reciprocal_ranks_look_at_the_order_alone() -> None:
    lists = {"text": [chunk("a", 1000.0, page=1), chunk("b", 1.0, page=2), chunk("c", 0.9, page=3)]}
    fused = Fusion(lists, limit=LIMIT, method="rrf").ranked({"text": 1.0})
    assert [item.score for item in fused] == pytest.approx([1 / 61, 1 / 62, 1 / 63])


@given(st.sampled_from(["vector", "text"]), st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_scaling_keeps_the_order_and_stays_within_bounds(name: str, values: list[float]) -> None:
    found = scores({name: [chunk(str(index), value, page=index) for index, value in enumerate(values)]})
    assert all(-1e-9 <= score <= 1.0 / STANDING_OUT + 1e-9 for score in found.values())
    best = max(range(len(values)), key=lambda index: values[index])
    assert found[str(best)] == pytest.approx(max(found.values()))
