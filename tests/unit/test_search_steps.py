"""What happens to a question before it is asked, and to candidates after they are fused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.errors import QueryError
from kb.search.diversity import diversified
from kb.search.fusion import Fused
from kb.search.marks import sentences_that_match
from kb.search.neighbours import at_most_per_page, merged, worth_reading_on
from kb.search.question import content_words, stem
from kb.store import parse_condition


def fused(name: str, score: float, *, page: int = 1, position: int = 0, text: str = "") -> Fused:
    row = {"chunk_id": name, "doc_id": "d", "recipe": "r", "page": page, "position": position, "text": text or name}
    return Fused(row, score)


def names(items: list[Fused]) -> list[str]:
    return [str(item.row["chunk_id"]) for item in items]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is the operating margin of 2022?", "the operating margin of 2022"),
        ("who is who", "who is who"),
        ("营业利润是多少", "营业利润是多少"),
        ("C++ AND (rust OR go)", "C AND rust OR go"),
        ("What were sales of 1,234.5 in the U.S. (note 4.2.1)?", "sales of 1,234.5 in the U.S note 4.2.1"),
    ],
)
def test_words_that_only_make_it_a_question_are_not_searched_for(question: str, words: str) -> None:
    assert content_words(question) == words


def test_a_page_gives_its_best_passages_only() -> None:
    items = [fused("a", 3), fused("b", 2, position=1), fused("c", 1, page=2)]
    assert names(at_most_per_page(items, 1)) == ["a", "c"]
    assert names(at_most_per_page(items, 2)) == ["a", "b", "c"]
    assert names(at_most_per_page(items, 0)) == ["a", "b", "c"]


def test_a_hit_goes_on_into_the_passages_beside_it_that_answer_as_well() -> None:
    items = [
        fused("second", 1.0, position=1, text="the second"),
        fused("third", 0.7, position=2, text="the third"),
        fused("first", 0.2, position=0, text="the first"),
        fused("elsewhere", 0.9, page=2, position=3, text="another page"),
    ]
    run = worth_reading_on(items[0], items)
    assert names(run) == ["second", "third"]
    assert merged(items[0], run).row["text"] == "the second\nthe third"


def test_what_two_passages_share_is_shown_once() -> None:
    shared = "freight cost more than before."
    items = [
        fused("a", 1.0, text=f"Margins fell, for {shared}"),
        fused("b", 1.0, position=1, text=f"{shared} Costs"),
        fused("c", 1.0, position=2, text="Costs rose."),
    ]
    assert merged(items[0], items).row["text"] == f"Margins fell, for {shared} Costs\nCosts rose."


def test_diversity_passes_over_what_was_said_already() -> None:
    items = [fused("a", 1.0), fused("again", 0.95, page=2), fused("other", 0.6, page=3)]
    vectors = {"a": np.array([1, 0], np.float32), "again": np.array([1, 0], np.float32)}
    vectors["other"] = np.array([0, 1], np.float32)
    assert names(diversified(items, vectors, diversity=0.0, limit=3)) == ["a", "again", "other"]
    assert names(diversified(items, vectors, diversity=0.5, limit=2)) == ["a", "other"]


TEXT = "Sales grew. The operating margin fell to 12 % because freight cost more! Nothing else changed."


def test_the_sentence_that_holds_the_questions_words_is_marked() -> None:
    [(start, end)] = sentences_that_match(TEXT, "Why did the margin of operations fall?")
    assert TEXT[start:end] == "The operating margin fell to 12 % because freight cost more!"


def test_no_sentence_is_marked_where_none_has_a_word_of_the_question() -> None:
    assert sentences_that_match(TEXT, "zebra") == ()


def test_chinese_sentences_are_told_apart() -> None:
    text = "公司成立于1998年。营业利润率下降到百分之十二。员工很多。"
    [(start, end)] = sentences_that_match(text, "营业利润率")
    assert text[start:end] == "营业利润率下降到百分之十二。"


WORDS = st.lists(st.sampled_from(["Rate", "rated", "rates", "margin", "Margins", "marginal", "a", "émile", "x1"]))


@given(WORDS, WORDS, WORDS)
def test_the_sentence_with_most_of_the_questions_words_in_some_form_is_marked(
    question: list[str], first: list[str], second: list[str]
) -> None:
    wanted = {stem(word) for word in question if len(word) > 1}
    text = f"Said {' '.join(first)}. And {', '.join(second)}!"
    held = [len(wanted & {stem(word) for word in words}) for words in (first, second)]
    marked = {text[start] for start, _ in sentences_that_match(text, " ".join(question))}
    best = max(held)
    assert marked == {letter for letter, count in zip("SA", held, strict=True) if best and count >= 0.75 * best}


@given(st.text(max_size=300), st.text(min_size=1, max_size=60))
def test_marks_are_ranges_of_the_text_in_order(text: str, question: str) -> None:
    marks = sentences_that_match(text, question)
    assert all(0 <= start < end <= len(text) for start, end in marks)
    assert list(marks) == sorted(marks)
    assert all(before[1] <= after[0] for before, after in pairwise(marks))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "page",
        "page>",
        "page>=x",
        "page~3",
        "drop table=1",
        "1=1",
        "page>=3 OR 1=1",
        "created~2022",
        "created>=soon",
    ],
)
def test_what_is_no_condition_is_an_error_that_says_how_to_write_one(text: str) -> None:
    with pytest.raises(QueryError) as raised:
        parse_condition(text)
    assert raised.value.fix


@given(st.text(max_size=80))
def test_any_value_of_a_text_field_is_only_a_value(value: str) -> None:
    assert parse_condition(f"author={value}").value == value.strip()
