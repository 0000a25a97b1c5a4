"""A forward pass without padding: the tokens of all texts side by side, as one text of many parts.

What a network computes for each token by itself, which is nearly all, it computes for real tokens only. Attention alone
wants rows: for it texts of like length become rows of one width, several short ones to a row, and each token attends to
those of its own text. The number of tokens is rounded up, because oneDNN compiles a program for each number that it has
not seen (20 to 30 ms; a batch of 32 questions takes 30).

Measured with all-MiniLM-L6-v2 in bfloat16 on 2 cores, a batch of 128 texts of 7 to 20 tokens: 105 ms padded, 71 so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from server.scripting import scripted

__all__ = ["Layout", "Unpadded", "can_be_unpadded", "lay_out", "repad", "rounded", "unpad", "unpadded"]

NAME = "unpadded"
# A multiple of this is what the kernels compute fastest with (160 tokens take less than 150).
STEP = 16
# Texts up to this length share rows: wide enough that the kernel has work, narrow enough that little of it is masked.
SHARED_WIDTH = 64
# Of the widest row of a call, which a text must fill to be in it.
LEAST_FILL = 0.75
# The number of tokens is one of eight to each power of two, so that at most an eighth is for nothing.
STEPS_OF_OCTAVE = 8
# What may follow the network: one of these knows texts side by side, the others see vectors of whole texts.
FOLLOWING = (Pooling, Dense, LayerNorm, Normalize)
# What an attention is given where it is not the plain one that is computed here.
UNKNOWN = ("sliding_window", "softcap", "position_bias", "s_aux", "cache")


class Layout(NamedTuple):
    """Where the tokens of a batch stand while they attend: for each call rows of one width, with empty places."""

    sources: torch.Tensor  # int64: for each place of the rows of all calls the token; any where none stands
    places: torch.Tensor  # int64: for each token its place in the rows of its call
    masks: torch.Tensor  # (rows, 1 or width, width) of all calls, flat: what is added to scores
    calls: torch.Tensor  # int64 (calls, 4): tokens, rows, width, and 1 or width


@dataclass(frozen=True)
class Unpadded:
    """What has to be known of a network to lay batches out for it."""

    dtype: torch.dtype
    causal: bool
    first_position: int

    def features(self, batch: Sequence[Sequence[int]]) -> dict[str, Any]:
        """What the modules of the model make vectors from: one for each text, the longest first, and perhaps one more
        to leave out."""
        lengths = np.fromiter(map(len, batch), np.int64, len(batch))
        real = int(lengths.sum())
        layout = lay_out(lengths.tolist(), self.dtype, causal=self.causal)
        tokens = rounded(real)
        if tokens > real:  # a text of its own, to which nothing attends
            lengths = np.append(lengths, tokens - real)
        ends = np.cumsum(lengths)
        ids = np.zeros(tokens, np.int64)
        ids[:real] = np.fromiter(chain.from_iterable(batch), np.int64, real)
        positions = np.arange(tokens) - np.repeat(ends - lengths, lengths) + self.first_position
        return {
            "input_ids": torch.from_numpy(ids[None]),
            "position_ids": torch.from_numpy(positions[None]),
            "cu_seq_lens_q": torch.from_numpy(np.concatenate([[0], ends])),
            "seq_idx": torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)[None]),
            "layout": layout,
        }


def can_be_unpadded(transformer: SentenceTransformer) -> bool:
    """Whether its network takes an attention from outside, and what follows it knows texts side by side; whether it
    computes the same then is to be tried."""
    first, *others = transformer
    network = getattr(first, "model", None)
    return (
        isinstance(network, PreTrainedModel)
        and bool(network.is_backend_compatible())  # type: ignore[no-untyped-call]
        and all(type(module) in FOLLOWING for module in others)
    )


def unpad(transformer: SentenceTransformer) -> str:
    """Lets it attend as batches are laid out here. Returns what `repad` wants to undo that."""
    first: Any = transformer[0]
    before = str(first.config._attn_implementation)
    first.model.set_attn_implementation(NAME)
    if first.model_forward_params is not None:  # None lets everything through
        first.model_forward_params |= {"layout"}
    return before


def repad(transformer: SentenceTransformer, attention: str) -> None:
    """Undoes `unpad`."""
    first: Any = transformer[0]
    first.model.set_attn_implementation(attention)


def unpadded(transformer: SentenceTransformer, dtype: torch.dtype) -> Unpadded | None:
    """How to lay batches out for it; None where it wants them padded."""
    first: Any = transformer[0]
    if getattr(getattr(first, "config", None), "_attn_implementation", None) != NAME:
        return None
    modules = list(first.model.modules())
    return Unpadded(dtype, any(getattr(module, "is_causal", False) for module in modules), _first_position(modules))


def lay_out(lengths: Sequence[int], dtype: torch.dtype, *, causal: bool) -> Layout:
    """Rows for texts of these lengths, the longest first."""
    calls, sources, places, masks, start = [], [], [], [], 0
    for group, width in _groups(lengths):
        its_sources, its_places, texts = _rows(group, width)
        seen = _seen(texts, alone=len(texts) == len(group), causal=causal)
        calls.append((len(its_places), len(texts), width, seen.shape[1]))
        sources.append(its_sources + start)
        places.append(its_places)
        masks.append(seen.ravel())
        start += len(its_places)
    unseen = torch.from_numpy(~np.concatenate(masks))
    return Layout(
        torch.from_numpy(np.concatenate(sources)),
        torch.from_numpy(np.concatenate(places)),
        torch.zeros(len(unseen), dtype=dtype).masked_fill_(unseen, -torch.inf),
        torch.tensor(calls),
    )


def _groups(lengths: Sequence[int]) -> Iterator[tuple[Sequence[int], int]]:
    """Texts that attend in one call, and how wide its rows are."""
    while lengths:
        width = _up(lengths[0], STEP)
        if width <= SHARED_WIDTH:
            yield lengths, min(SHARED_WIDTH, _up(sum(lengths), STEP))
            return
        end = next((end for end, length in enumerate(lengths) if length < LEAST_FILL * width), len(lengths))
        yield lengths[:end], width
        lengths = lengths[end:]


def _rows(group: Sequence[int], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The token at each place, the place of each token, and for each row and place the number of the text or -1."""
    firsts = np.empty(len(group), np.int64)  # the place of a text's first token
    row = column = 0
    for text, length in enumerate(group):
        if column + length > width:
            row, column = row + 1, 0
        firsts[text] = row * width + column
        column += length
    lengths = np.asarray(group)
    tokens = np.arange(lengths.sum())
    places = tokens + np.repeat(firsts - (np.cumsum(lengths) - lengths), lengths)
    sources = np.zeros((row + 1) * width, np.int64)
    sources[places] = tokens
    texts = np.full((row + 1) * width, -1)
    texts[places] = np.repeat(np.arange(len(group)), lengths)
    return sources, places, texts.reshape(-1, width)


def _seen(texts: NDArray[np.int64], *, alone: bool, causal: bool) -> NDArray[np.bool_]:
    """Which places a place attends to. One text to a row needs no more than which places are empty, and where texts
    are causal not even that: the kernel knows, and what is empty is behind all that attends."""
    if alone:
        return (texts >= 0)[:, None, :]
    seen = texts[:, :, None] == texts[:, None, :]
    return np.tril(seen) if causal else seen


def _attend_in_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    sources: torch.Tensor,
    places: torch.Tensor,
    masks: torch.Tensor,
    calls: torch.Tensor,
    scale: float | None,
    sharing: int,
    causal: bool,
) -> torch.Tensor:
    """(tokens, heads, size) to the same; so many heads of the query share one of the key."""
    result = torch.zeros_like(query)
    numbers: list[list[int]] = calls.tolist()
    token, place, masked = 0, 0, 0
    for tokens, rows, width, height in numbers:
        here = sources[place : place + rows * width]
        queries = query.index_select(0, here).view([rows, width, query.size(1), query.size(2)]).transpose(1, 2)
        keys = key.index_select(0, here).view([rows, width, key.size(1), key.size(2)]).transpose(1, 2)
        values = value.index_select(0, here).view([rows, width, value.size(1), value.size(2)]).transpose(1, 2)
        if sharing > 1:
            keys = keys.repeat_interleave(sharing, 1)
            values = values.repeat_interleave(sharing, 1)
        if causal and height == 1:
            attended = scaled_dot_product_attention(queries, keys, values, None, 0.0, True, scale=scale)
        else:
            mask = masks[masked : masked + rows * height * width].view([rows, 1, height, width])
            attended = scaled_dot_product_attention(queries, keys, values, mask, scale=scale)
        attended = attended.transpose(1, 2).flatten(0, 1)
        result[token : token + tokens] = attended.index_select(0, places[token : token + tokens])
        token += tokens
        place += rows * width
        masked += rows * height * width
    return result


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls attentions: (1, heads, tokens, size) to (1, tokens, heads, size)."""
    causal = bool(getattr(module, "is_causal", False))
    unknown = [name for name in UNKNOWN if options.get(name) is not None]
    if unknown or attention_mask is not None or options.get("is_causal") not in (None, causal):
        raise ValueError(f"its attention has {', '.join(unknown) or 'a mask of its own'}")  # so it is padded
    flat = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    sharing = int(getattr(module, "num_key_value_groups", 1))
    result: torch.Tensor = attend_in_rows(*flat, *layout, options.get("scaling"), sharing, causal)
    return result[None], None


def _first_position(modules: Iterable[torch.nn.Module]) -> int:
    """RoBERTa and its kin count positions from after that of padding."""
    for module in modules:
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), torch.nn.Embedding):
            return padding + 1
    return 0


def rounded(tokens: int) -> int:
    """How many are computed for so many."""
    return _up(tokens, max(STEP, (1 << (tokens - 1).bit_length()) // (2 * STEPS_OF_OCTAVE)))


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


attend_in_rows = scripted(_attend_in_rows)
AttentionInterface.register(NAME, _attend)
