"""Texts or token ids in, vectors out; and tokens for those who want to count them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from server.errors import bad_request, too_long, wrong_kind
from server.matryoshka import check_dimensions, shortened
from server.messages import json_response
from server.reading import read
from server.requests import EmbeddingRequest, Truncation, parse_embedding_request, parse_tokens
from server.served import Served
from server.serving import Serving
from server.tokenizing import Encoded, TextTokenizer, too_many_characters

if TYPE_CHECKING:
    from server.model import EmbeddingModel

__all__ = ["detokenize", "embeddings", "tokenize"]

# Some seconds of one of the threads that everybody's texts go through.
MOST_CHARACTERS = 4_000_000


async def embeddings(serving: Serving, request: Request) -> Response:
    """Vectors of texts or token ids, as OpenAI's API gives them."""
    asked = await read(serving, request, parse_embedding_request)
    served = serving.find(asked.model)
    model = served.model
    if model.kind != "embedding":
        raise wrong_kind(model.name, "/v1/rerank")
    allowed = () if serving.config.any_dimensions else model.dimensions
    dimensions = model.default_dimensions if asked.dimensions is None else asked.dimensions
    check_dimensions(asked.dimensions, model.dimension, allowed=allowed, name=model.name)
    ids, truncated = await _token_ids(serving, model, asked, request)
    vectors = shortened(await serving.embed(served, ids, request), dimensions)
    return _response(served, vectors, tokens=sum(map(len, ids)), truncated=truncated, in_base64=asked.base64)


async def _token_ids(
    serving: Serving, model: EmbeddingModel, asked: EmbeddingRequest, request: Request
) -> tuple[list[Sequence[int]], int]:
    """Token ids that fit the model, and how many inputs were cut for it. Raises RequestError where none may be."""
    truncation = asked.truncation.within(model.max_tokens, by_default=serving.config.truncate)
    if asked.texts is None:
        model.prompts.before_ids(asked.prompt)
        ids, long = _given_ids(asked.ids or [], model.vocabulary, truncation)
    else:
        prompt = model.prompts.choose(asked.prompt)
        texts = [prompt + text for text in asked.texts] if prompt else asked.texts
        ids, long = await _text_ids(serving, model.tokenizer, texts, truncation, request)
        if prompt and not model.pools_prompts:
            length = model.tokenizer.prompt_length(prompt)
            ids = [Encoded(list(item), prompt_tokens=min(length, len(item) - 1)) for item in ids]
    serving.metrics.truncated.inc(long)
    return ids, long


async def _text_ids(
    serving: Serving, tokenizer: TextTokenizer, texts: list[str], truncation: Truncation, request: Request
) -> tuple[list[Sequence[int]], int]:
    huge = [index for index, text in enumerate(texts) if too_many_characters(text, truncation.limit)]
    if huge and not truncation.allowed:
        raise too_long(huge[0], f"{len(texts[huge[0]])} characters", truncation.limit)
    whole = [text for index, text in enumerate(texts) if index not in huge] if huge else texts
    ids: list[Sequence[int]] = list(await serving.tokenized(tokenizer.encode, whole, request))
    for index in huge:
        ids.insert(index, range(truncation.limit + 1))  # replaced below
    long = [index for index, item in enumerate(ids) if len(item) > truncation.limit]
    if long and not truncation.allowed:
        raise too_long(long[0], f"{len(ids[long[0]])} tokens", truncation.limit)
    if not all(ids):
        empty = next(index for index, item in enumerate(ids) if not item)
        raise bad_request(f"input {empty} is empty: this model makes no token of it.", parameter="input")
    if long:
        parts = [texts[index] for index in long]
        cutting = partial(tokenizer.encode_cut, limit=truncation.limit, side=truncation.side)
        cut = await serving.tokenized(cutting, parts, request)
        for index, item in zip(long, cut, strict=True):
            ids[index] = item
    return ids, len(long)


def _given_ids(ids: list[list[int]], vocabulary: int, truncation: Truncation) -> tuple[list[Sequence[int]], int]:
    long = [index for index, item in enumerate(ids) if len(item) > truncation.limit]
    if long and not truncation.allowed:
        raise too_long(long[0], f"{len(ids[long[0]])} tokens", truncation.limit)
    kept = slice(-truncation.limit, None) if truncation.side == "left" else slice(truncation.limit)
    cut: list[Sequence[int]] = [item[kept] for item in ids]
    if max(map(max, cut)) >= vocabulary:
        raise bad_request(f"Token ids of this model are below {vocabulary}.", parameter="input")
    return cut, len(long)


def _response(
    served: Served, vectors: NDArray[np.float32], *, tokens: int, truncated: int, in_base64: bool
) -> Response:
    rows: list[Any] = list(vectors)
    if in_base64:
        rows = [base64.b64encode(row.data).decode("ascii") for row in np.ascontiguousarray(vectors, "<f4")]
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    content = {
        "object": "list",
        "data": data,
        "model": served.model.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if not truncated:
        return json_response(content)
    response = json_response(content | {"truncated_inputs": truncated})
    response.headers["x-truncated-inputs"] = str(truncated)
    return response


async def tokenize(serving: Serving, request: Request) -> Response:
    """Token ids of texts, special tokens included."""
    asked = await read(serving, request, parse_embedding_request)
    if asked.texts is None:
        raise bad_request("input must be a string or a list of strings.", parameter="input")
    if sum(map(len, asked.texts)) > MOST_CHARACTERS:
        raise bad_request(f"At most {MOST_CHARACTERS} characters a request are tokenised.", parameter="input")
    served = serving.find(asked.model)
    ids = await serving.tokenized(served.model.tokenizer.encode, asked.texts, request)
    counts = [len(item) for item in ids]
    return json_response({"tokens": ids, "counts": counts, "max_model_len": served.model.max_tokens})


async def detokenize(serving: Serving, request: Request) -> Response:
    """Texts of token ids, special tokens left out."""
    model, ids = await read(serving, request, parse_tokens)
    tokenizer = serving.find(model).model.tokenizer
    if max(map(max, ids)) >= tokenizer.size:
        raise bad_request(f"Token ids of this model are below {tokenizer.size}.", parameter="tokens")
    return json_response({"texts": tokenizer.decode(ids)})
