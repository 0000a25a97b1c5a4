"""De-hyphenation: only where the document itself has the word whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kb.extract.hyphens import join_hyphens

words = st.text(alphabet="abcdefghijklmnop", min_size=2, max_size=8)


def test_a_word_that_stands_whole_elsewhere_is_joined() -> None:
    assert join_hyphens(["the infor-\nmation was", "Information is power"]) == [
        "the information was",
        "Information is power",
    ]


def test_a_compound_that_stands_elsewhere_keeps_its_hyphen() -> None:
    assert join_hyphens(["an FAA-\napproved list", "the FAA-approved MEL"])[0] == "an FAA-approved list"


def test_a_compound_that_stands_nowhere_else_stays_as_printed() -> None:
    assert join_hyphens(["existing FAA-\napproved MEL", "approved by the FAA"])[0] == "existing FAA-\napproved MEL"


def test_a_word_that_is_cut_everywhere_does_not_vouch_for_itself() -> None:
    assert join_hyphens(["situ-\nation", "a situ-\nation"]) == ["situ-\nation", "a situ-\nation"]


def test_a_hyphen_before_a_number_or_a_sign_is_left_alone() -> None:
    text = "pages 2-\n3 and wiki.debian.org/-\nSourceOnly"
    assert join_hyphens([text, "pages SourceOnly"])[0] == text


def test_other_scripts_are_joined_as_well() -> None:
    assert join_hyphens(["доку-\nментация", "Документация здесь"])[0] == "документация"


@given(st.lists(words, min_size=1, max_size=20))
def test_text_without_cuts_is_untouched(found: list[str]) -> None:
    assert join_hyphens([" ".join(found)]) == [" ".join(found)]


@given(words, words, st.lists(words, max_size=10))
def test_no_letter_is_lost_or_added(before: str, after: str, others: list[str]) -> None:
    texts = [f"{before}-\n{after}", " ".join(others)]
    joined = join_hyphens(texts)
    assert [letters(text) for text in joined] == [letters(text) for text in texts]


@given(words, words)
def test_cut_and_joined_is_the_word_again(before: str, after: str) -> None:
    assert join_hyphens([f"{before}-\n{after}", before + after])[0] == before + after


def letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalpha())
