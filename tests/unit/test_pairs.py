"""Pairs of words and figures: passages that say them as the question does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kb.search.figures import shares_of_figures
from kb.search.pairs import worth_of_pairs


def found(question: str, *texts: str) -> list[str]:
    """The texts with pairs of the question, best first."""
    worth = dict(zip(texts, worth_of_pairs(question, texts), strict=True))
    return sorted((text for text in texts if worth[text]), key=lambda text: -worth[text])


def test_words_side_by_side_count_and_the_same_words_apart_do_not() -> None:
    apart = "The margin of error is small, and ships were operating as before."
    assert found("operating margin", "Operating margin fell.", apart) == ["Operating margin fell."]


def test_other_forms_of_the_words_count_and_so_do_a_few_words_between_them() -> None:
    assert found("operating margin", "We operated at margins of 3 %.", "Operating at high margin.") == [
        "We operated at margins of 3 %.",
        "Operating at high margin.",
    ]
    assert not found("operating margin", "Operating at so very high a margin.")


def test_joining_words_are_no_part_of_a_pair() -> None:
    assert found("cost of the freight", "The cost of freight rose.", "The top of the hill.") == [
        "The cost of freight rose."
    ]


def test_a_rare_pair_counts_more_than_a_frequent_one() -> None:
    common = [f"The annual report of part {number}." for number in range(8)]
    best, *_ = found("annual report on freight costs", *common, "Freight costs rose.")
    assert best == "Freight costs rose."


def test_a_question_of_one_word_has_no_pairs() -> None:
    assert found("margin", "The margin fell.") == []


@given(question=st.text(max_size=80), text=st.text(max_size=200))
def test_any_text_is_looked_through(question: str, text: str) -> None:
    first, second = worth_of_pairs(question, [text, text])
    assert first == second >= 0


def test_a_passage_with_more_of_the_questions_figures_has_the_larger_share() -> None:
    texts = ["in 2007 and 2008, 1,234.5 million", "in 2007 and 2009", "20078 and 2008.1"]
    assert shares_of_figures("from 2007 to 2008: 1,234.5?", texts) == [1.0, 1 / 3, 0.0]
    assert shares_of_figures("no figure at all", texts) == [0.0, 0.0, 0.0]
