"""How many tokens the parts of a text have, from the tokens of its words, each of which is tokenised once.

A splitter measures every part of a text some ten times over, and documents say the same words again and again.
"""

from __future__ import annotations

import json
import re
import string
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.models import Model

__all__ = ["MeasuredText", "WordCounter", "splits_at_spaces"]

# Only these four are space to every tokenizer; what else is stays within a word.
SPACES = " \t\r\n"
# A word with the space before it.
WORD = re.compile(rf"[{SPACES}]*[^{SPACES}]+|[{SPACES}]+\Z")
# BERT's tokenizers part words at these as well, each of which is a word by itself: punctuation, Chinese characters.
PUNCTUATION = re.escape(string.punctuation)
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD_OF_BERT = re.compile(rf"[{SPACES}]*(?:[{PUNCTUATION}{CHINESE}]|[^{SPACES}{PUNCTUATION}{CHINESE}]+)|[{SPACES}]+\Z")
PART_OF_BERT = re.compile(rf"[{PUNCTUATION}]|[^{PUNCTUATION}]+")
# Text without spaces, as Thai is written, has no words that come again: none may be longer, but for some in ten.
LONG_WORD = 60
MOST_LONG = 0.1
# After these no token reaches over a space, nor depends on what stands beyond one: BERT's and XLM-R's tokenizers.
SPLIT_AT_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
# Words of a large corpus number millions; what comes again is soon known again.
MOST_WORDS = 200_000


def splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether a text has as many tokens as its words have."""
    step = _step(tokenizer.pre_tokenizer)
    first = step["pretokenizers"][0] if step.get("type") == "Sequence" else step
    return first.get("type") in SPLIT_AT_SPACES


def _is_bert(tokenizer: Tokenizer) -> bool:
    normalizer = _step(tokenizer.normalizer)
    chinese = normalizer.get("type") == "BertNormalizer" and normalizer["handle_chinese_chars"]
    return bool(chinese) and _step(tokenizer.pre_tokenizer).get("type") == "BertPreTokenizer"


def _step(step: Any) -> dict[str, Any]:
    """A step of a tokenizer as tokenizer.json describes it; empty where there is none."""
    return {} if step is None else json.loads(step.__getstate__())


def _share_of_long(lengths: list[int]) -> float:
    return sum(length for length in lengths if length > LONG_WORD) / sum(lengths)


class WordCounter:
    """Counts tokens of texts by their words, special ones left out. Thread-safe: at worst a word is counted twice.

    For tokenizers that `splits_at_spaces`: the counts are then exact.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._words = [WORD]  # the first that finds words worth knowing is taken
        self._whole: list[str] = []  # such as "[MASK]", which is one token and would be parted
        self._bert: Model | None = None
        if _is_bert(tokenizer):
            self._words.append(WORD_OF_BERT)
            added = (token.content for token in tokenizer.get_added_tokens_decoder().values())
            self._whole = [token for token in added if len(WORD_OF_BERT.findall(token)) > 1]
            self._bert = tokenizer.model
            self._lowers = _step(tokenizer.normalizer)["lowercase"]
        self._known: dict[str, int] = {}

    def measure(self, text: str) -> MeasuredText | None:
        """The text with its words counted; None where it has none that are worth knowing."""
        if any(token in text for token in self._whole):
            return None
        for word in self._words:
            words = word.findall(text)
            lengths = list(map(len, words))
            if max(lengths, default=0) <= LONG_WORD or _share_of_long(lengths) <= MOST_LONG:
                return MeasuredText(text, lengths, self.of_words(words), self)
        return None

    def of_words(self, words: list[str]) -> list[int]:
        """Tokens of each word."""
        known = self._known
        tokens = list(map(known.get, words))
        if None in tokens:
            if len(known) > MOST_WORDS:
                self._known = known = {}
            known |= self._counted([word for word in set(words) if word not in known])
            return [known[word] for word in words]
        return cast(list[int], tokens)

    def _counted(self, words: list[str]) -> dict[str, int]:
        """BERT's normalizer takes ten times as long as its model, and does nothing but lower letters that are ASCII."""
        counted: dict[str, int] = {}
        others = words
        if self._bert is not None:
            others = []
            for word in words:
                bare = word.strip(SPACES)
                if bare.isascii() and bare.isprintable():
                    parts = PART_OF_BERT.findall(bare.lower() if self._lowers else bare)
                    counted[word] = sum(len(self._bert.tokenize(part)) for part in parts)
                else:
                    others.append(word)
        if others:
            encodings = self._tokenizer.encode_batch_fast(others, add_special_tokens=False)
            counted |= {word: len(encoding) for word, encoding in zip(others, encodings, strict=True)}
        return counted

    def of_word(self, word: str) -> int:
        """Tokens of one word, or of a part of one."""
        tokens = self._known.get(word)
        return self.of_words([word])[0] if tokens is None else tokens


class MeasuredText:
    """A text whose parts are measured without tokenising them."""

    def __init__(self, text: str, lengths: list[int], tokens: list[int], counter: WordCounter) -> None:
        self._text = text
        self._counter = counter
        self._ends = list(accumulate(lengths))  # where each word ends
        self._tokens = [0, *accumulate(tokens)]  # before each word

    @property
    def tokens(self) -> int:
        """Tokens of all of it."""
        return self._tokens[-1]

    def count(self, part: str) -> int:
        """Tokens of a part of the text."""
        start = self._text.find(part)  # wherever else it stands, it has as many tokens there
        end = start + len(part)
        first = bisect_right(self._ends, start)  # the word that the part starts in
        last = bisect_left(self._ends, end)  # the word that it ends in
        begun = self._ends[first - 1] if first else 0
        if first == last:
            return self._counter.of_word(part) if part.strip(SPACES) else 0
        tokens = self._tokens[last] - self._tokens[first]
        if begun < start:  # in the middle of a word
            tokens += self._piece(start, self._ends[first]) - (self._tokens[first + 1] - self._tokens[first])
        if end == self._ends[last]:
            return tokens + self._tokens[last + 1] - self._tokens[last]
        return tokens + self._piece(self._ends[last - 1], end)

    def _piece(self, start: int, end: int) -> int:
        return self._counter.of_word(self._text[start:end])
