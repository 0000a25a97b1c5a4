"""Documents in the order of how well they fit a query, as Cohere's, Jina's and vLLM's rerank routes answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.errors import too_long, wrong_kind
from server.messages import json_response, read_body
from server.requests import RerankRequest, parse_body, parse_rerank_request
from server.served import Served
from server.serving import Serving
from server.tokenizing import Encoded

__all__ = ["rerank", "rerank_as_infinity"]


async def rerank(serving: Serving, request: Request) -> Response:
    """Scores of documents for a query, best first; higher is better. Texts come back as {"text": …}."""
    return await _answer(serving, request, lambda text: {"text": text})


async def rerank_as_infinity(serving: Serving, request: Request) -> Response:
    """The same with texts as plain strings, which is how infinity's clients read them. Nothing in their requests tells
    them from vLLM's, so they say it by the path: litellm.rerank(model="infinity/…", api_base="http://…/infinity")."""
    return await _answer(serving, request, lambda text: text)


async def _answer(serving: Serving, request: Request, shown: Callable[[str], str | dict[str, str]]) -> Response:
    body = await read_body(request, serving.config)
    asked = parse_rerank_request(parse_body(body), max_texts=serving.config.max_texts)
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
    pairing = partial(served.model.tokenizer.encode_pairs, asked.query, limit=limit if truncate else None)
    pairs = await serving.tokenized(pairing, asked.documents, request)
    long = next((index for index, pair in enumerate(pairs) if len(pair) > limit), None)
    if long is not None:
        raise too_long(long, f"{len(pairs[long])} tokens, the query's included", limit)
    return pairs
