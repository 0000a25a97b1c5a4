"""Documents in the order of how well they fit a query, as Cohere's, Jina's and vLLM's rerank routes answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.errors import too_long, wrong_kind
from server.messages import json_response
from server.reading import read
from server.requests import RerankRequest, parse_rerank_request
from server.served import Served
from server.serving import Serving
from server.tokenizing import Encoded, too_many_characters

__all__ = ["rerank", "rerank_as_infinity"]


async def rerank(serving: Serving, request: Request) -> Response:
    """Scores of documents for a query, best first; higher is better. Texts come back as {"text": …}."""
    return await _answer(serving, request, lambda text: {"text": text})


async def rerank_as_infinity(serving: Serving, request: Request) -> Response:
    """The same with texts as plain strings, which is how infinity's clients read them. Nothing in their requests tells
    them from vLLM's, so they say it by the path: litellm.rerank(model="infinity/…", api_base="http://…/infinity")."""
    return await _answer(serving, request, lambda text: text)


async def _answer(serving: Serving, request: Request, shown: Callable[[str], str | dict[str, str]]) -> Response:
    asked = await read(serving, request, parse_rerank_request)
    served = serving.find(asked.model, kind="rerank")
    if served.model.kind != "rerank":
        raise wrong_kind(served.model.name, "/v1/embeddings")
    pairs = await _pairs(serving, served, asked, request)
    scores = (await serving.embed(served, pairs, request))[:, 0]
    best = (-scores).argsort(kind="stable")[: asked.top_n]
    results: list[dict[str, Any]] = [
        {"index": int(index), "relevance_score": float(scores[index])}
        | ({"document": shown(asked.documents[index])} if asked.return_documents else {})
        for index in best
    ]
    tokens = sum(map(len, pairs))
    return json_response(
        {
            "id": serving.request_id(request.headers.get("x-request-id")),
            "model": served.model.name,
            "results": results,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {"billed_units": {"total_tokens": tokens}, "tokens": {"input_tokens": tokens}},
        }
    )


async def _pairs(serving: Serving, served: Served, asked: RerankRequest, request: Request) -> list[Encoded]:
    """Query and document together, token ids that fit the model. Raises RequestError where none may be cut."""
    truncate = serving.config.truncate if asked.truncate is None else asked.truncate
    limit = served.model.max_tokens
    huge = next((index for index, text in enumerate(asked.documents) if too_many_characters(text, limit)), None)
    if too_many_characters(asked.query, limit):
        raise too_long(0, f"a query of {len(asked.query)} characters", limit)
    if huge is not None and not truncate:
        raise too_long(huge, f"{len(asked.documents[huge])} characters", limit)
    pairing = partial(served.model.tokenizer.encode_pairs, asked.query, limit=limit if truncate else None)
    pairs = await serving.tokenized(pairing, asked.documents, request)
    long = next((index for index, pair in enumerate(pairs) if len(pair) > limit), None)
    if long is not None:
        raise too_long(long, f"{len(pairs[long])} tokens, the query's included", limit)
    return pairs
