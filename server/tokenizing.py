"""Texts to token ids and back, with the model's own fast tokenizer: nothing is cut unless asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from tokenizers import Tokenizer

__all__ = ["Encoded", "Side", "TextTokenizer", "too_many_characters"]

Side = Literal["left", "right"]

# No token of real text is as long on the average; what has more characters is refused or cut before it is tokenised,
# because tokenising megabytes to learn that they are too many would let one request hold everybody up.
CHARACTERS_PER_TOKEN = 250


@dataclass(frozen=True, slots=True)
class Encoded(Sequence[int]):
    """Token ids that carry more than themselves: the segment of each id, or how many of them are a prompt's."""

    ids: list[int]
    type_ids: list[int] | None = None
    prompt_tokens: int = 0

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> list[int]: ...
    def __getitem__(self, at: int | slice) -> int | list[int]:
        return self.ids[at]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)


class TextTokenizer:
    """Safe to use from many threads: it holds nothing that a call changes, and Rust works without the GIL."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a fast tokenizer of transformers; what it is set to cut and pad is left out."""
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.size = max(self._tokenizer.get_vocab().values()) + 1  # some leave numbers out
        self.side: Side = tokenizer.truncation_side

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def encode_cut(self, texts: Sequence[str], limit: int, side: Side | None = None) -> list[list[int]]:
        """The same, cut to `limit` tokens at the given side; special tokens stay where they belong."""
        side = side or self.side
        room = max(limit - self._tokenizer.num_special_tokens_to_add(False), 0)
        encodings = self._tokenizer.encode_batch_fast(
            [_cut_characters(text, limit, side) for text in texts], add_special_tokens=False
        )
        for encoding in encodings:
            encoding.truncate(room, direction=side)
        return [self._tokenizer.post_process(encoding).ids for encoding in encodings]

    def encode_pairs(self, first: str, seconds: Sequence[str], limit: int | None = None) -> list[Encoded]:
        """A text with each of others, as cross-encoders read them; with a `limit` the others are cut to fit."""
        parts = [_cut_characters(text, limit, "right") for text in seconds] if limit else seconds
        encodings = self._tokenizer.encode_batch_fast([first, *parts], add_special_tokens=False)
        room = limit and max(limit - self._tokenizer.num_special_tokens_to_add(True) - len(encodings[0]), 0)
        pairs = []
        for second in encodings[1:]:
            if room is not None and len(second) > room:
                second.truncate(room)
            pair = self._tokenizer.post_process(encodings[0], second)
            pairs.append(Encoded(pair.ids, pair.type_ids))
        return pairs

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of token ids, special tokens left out."""
        return list(self._tokenizer.decode_batch([list(item) for item in ids]))

    def prompt_length(self, prompt: str) -> int:
        """How many tokens at the start of a text are this prompt's, the opening special token included."""
        [ids] = self.encode([prompt])
        [bare] = self._tokenizer.encode_batch_fast([""])
        opening = next((at for at, (one, other) in enumerate(zip(ids, bare.ids, strict=False)) if one != other), 0)
        return len(ids) - (len(bare.ids) - opening)


def too_many_characters(text: str, limit: int) -> bool:
    """Whether a text cannot be within `limit` tokens, seen without tokenising it."""
    return len(text) > limit * CHARACTERS_PER_TOKEN


def _cut_characters(text: str, limit: int, side: Side) -> str:
    if not too_many_characters(text, limit):
        return text
    size = limit * CHARACTERS_PER_TOKEN
    return text[:size] if side == "right" else text[-size:]
