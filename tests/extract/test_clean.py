"""Cleaning: what a page's characters look like afterwards."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.extract.clean import clean

any_line = st.text(alphabet=st.characters(exclude_categories=()), max_size=60).filter(lambda text: "\n" not in text)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("A\x00B\x00C", "ABC"),
        ("oﬃce and ﬁle and ﬂow", "office and file and flow"),
        ("a\u00a0b\u2009c\u3000d", "a b c d"),
        ("two  spaces\tand a tab", "two spaces and a tab"),
        ("soft\u00adhyphen, zero\u200bwidth, \ufeffmark", "softhyphen, zerowidth, mark"),
        ("lone \ud83d surrogate", "lone surrogate"),
        ("a pair \ud83d\ude00 of halves", "a pair \U0001f600 of halves"),
        ("ＡＢＣ１２３", "ABC123"),
        ("\uf0b7 first point", "• first point"),
        ("noncharacter \ufffe and \uffff", "noncharacter and"),
        ("e\u0301te\u0301", "été"),
    ],
)
def test_what_only_says_how_text_was_drawn_goes(found: str, wanted: str) -> None:
    assert clean(found) == wanted


@pytest.mark.parametrize("text", ["10⁻³ m²", "½ cup", "x₁ … x₂", "№ 5 – “quoted”", "می‌خواهم", "क्‍ष", "naïve café"])
def test_what_carries_meaning_stays(text: str) -> None:
    assert clean(text) == text


@given(any_line)
def test_cleaned_text_goes_into_utf8_json_and_arrow(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert not re.search("[\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]|  ", cleaned)
    assert unicodedata.is_normalized("NFC", cleaned)


@given(any_line)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(st.text(alphabet="abcdefgh XYZ.,-", max_size=60))
def test_plain_words_keep_every_letter(text: str) -> None:
    assert clean(text).split() == text.split()
