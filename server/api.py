"""The routes: OpenAI's embeddings API, and what an operator wants to see."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.routing import Route

from server.errors import RequestError, bad_request, too_long, unavailable
from server.requests import EmbeddingRequest, parse_body, parse_embedding_request
from server.serving import Served, Serving

__all__ = ["make_app"]

BODY_EXAMPLE = {"input": ["first text", "second text"], "model": "all-MiniLM-L6-v2", "encoding_format": "float"}


def make_app(serving: Serving) -> FastAPI:
    """The application over what is being served."""
    app = FastAPI(title="Embedding server", description=__doc__, version="1")
    paths: dict[str, dict[str, Any]] = {}
    route = partial(_add_route, app, paths, serving)
    for prefix in ("/v1", ""):
        route("POST", f"{prefix}/embeddings", embeddings, body=BODY_EXAMPLE)
        route("GET", f"{prefix}/models", models)
    route("POST", "/tokenize", tokenize, body={"input": "some text"})
    route("GET", "/info", info)
    route("GET", "/metrics", metrics)
    for path in ("/health", "/readyz"):
        route("GET", path, ready, guarded=False)
    route("GET", "/startupz", started, guarded=False)
    route("GET", "/livez", alive, guarded=False)
    app.add_exception_handler(HTTPException, _http_error)
    schema = {"openapi": "3.1.0", "info": {"title": app.title, "version": app.version}, "paths": paths}
    app.openapi = lambda: schema  # type: ignore[method-assign]
    return app


Handler = Callable[[Serving, Request], Awaitable[Response]]


def _add_route(
    app: FastAPI,
    paths: dict[str, dict[str, Any]],
    serving: Serving,
    method: str,
    path: str,
    handler: Handler,
    *,
    guarded: bool = True,
    body: dict[str, Any] | None = None,
) -> None:
    async def endpoint(request: Request) -> Response:
        started_at = time.perf_counter()
        try:
            with serving.admit(request.headers.get("authorization"), guarded=guarded):
                response = await handler(serving, request)
        except RequestError as error:
            response = _json(error.body, error.status)
            response.headers.update(error.headers)
        except Exception as error:
            serving.log_failure(path, error)
            message = "The server failed on this request; its log says why."
            failure = RequestError(500, message, kind="server_error", headers={"x-should-retry": "false"})
            response = _json(failure.body, 500)
            response.headers.update(failure.headers)
        serving.note(path, response.status_code, time.perf_counter() - started_at)
        response.headers["x-request-id"] = serving.request_id(request.headers.get("x-request-id"))
        return response

    # A plain Starlette route: FastAPI's own would spend more on a short text's request than the model does.
    app.router.routes.append(Route(path, endpoint, methods=[method]))
    described: dict[str, Any] = {"summary": handler.__doc__, "responses": {"200": {"description": "As asked."}}}
    if body:
        described["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}, "example": body}}}
    paths.setdefault(path, {})[method.lower()] = described


async def embeddings(serving: Serving, request: Request) -> Response:
    """Vectors of texts or token ids, as OpenAI's API gives them."""
    body = await _body(request, serving.config.max_body_bytes)
    asked = parse_embedding_request(parse_body(body), max_texts=serving.config.max_texts)
    served = serving.find(asked.model)
    ids, truncated = await _token_ids(serving, served, asked)
    tokens = sum(map(len, ids))
    vectors = await serving.embed(served, ids, request)
    vectors = _shortened(vectors, asked.dimensions, served)
    response = _embedding_response(served, vectors, tokens, in_base64=asked.base64)
    if truncated:
        response.headers["x-truncated-inputs"] = str(truncated)
    return response


async def _token_ids(serving: Serving, served: Served, asked: EmbeddingRequest) -> tuple[list[list[int]], int]:
    """Token ids that fit the model, and how many inputs were cut for it. Raises RequestError where none may be."""
    ids = asked.ids if asked.ids is not None else await serving.tokenize(served, asked.texts or [])
    if asked.ids is not None and max(map(max, asked.ids)) >= served.model.vocabulary:
        raise bad_request(f"Token ids of this model are below {served.model.vocabulary}.", parameter="input")
    limit = served.model.max_tokens
    truncate = serving.config.truncate if asked.truncate is None else asked.truncate
    long = [index for index, item in enumerate(ids) if len(item) > limit]
    if not long:
        return ids, 0
    if not truncate:
        raise too_long(long[0], len(ids[long[0]]), limit)
    serving.metrics.truncated.inc(len(long))
    end = ids[long[0]][-1:] if asked.ids is None else []  # the special token that closes a text stays
    cut = [item if len(item) <= limit else item[: limit - len(end)] + end for item in ids]
    return cut, len(long)


def _shortened(vectors: NDArray[np.float32], dimensions: int | None, served: Served) -> NDArray[np.float32]:
    """The first dimensions of Matryoshka vectors, made unit length again."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    raise bad_request(
        f"{served.model.name} has vectors of {vectors.shape[1]} dimensions and was not trained for shorter ones.",
        parameter="dimensions",
    )


def _embedding_response(served: Served, vectors: NDArray[np.float32], tokens: int, *, in_base64: bool) -> Response:
    rows: list[Any] = list(vectors)
    if in_base64:
        rows = [base64.b64encode(np.ascontiguousarray(row, "<f4").data).decode("ascii") for row in rows]
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _json({"object": "list", "data": data, "model": served.model.name, "usage": usage})


async def tokenize(serving: Serving, request: Request) -> Response:
    """Token ids of texts, special tokens included."""
    data = parse_body(await _body(request, serving.config.max_body_bytes))
    asked = parse_embedding_request(data, max_texts=serving.config.max_texts)
    if asked.texts is None:
        raise bad_request("input must be a string or a list of strings.", parameter="input")
    served = serving.find(asked.model)
    ids = await serving.tokenize(served, asked.texts)
    counts = [len(item) for item in ids]
    return _json({"tokens": ids, "counts": counts, "max_model_len": served.model.max_tokens})


async def models(serving: Serving, _: Request) -> Response:
    """The models served, with their limits."""
    return _json({"object": "list", "data": [served.card for served in serving.served_models()]})


async def info(serving: Serving, _: Request) -> Response:
    """What runs here, and its limits."""
    return _json(serving.info())


async def metrics(serving: Serving, _: Request) -> Response:
    """Prometheus metrics."""
    return Response(serving.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def alive(serving: Serving, _: Request) -> Response:
    """Whether the process works: 503 when a model's thread has died."""
    return _probe(serving.is_alive, "a model has stopped answering")


async def started(serving: Serving, _: Request) -> Response:
    """Whether the models are loaded."""
    return _probe(serving.is_loaded, "the model is being loaded")


async def ready(serving: Serving, _: Request) -> Response:
    """Whether requests are taken: loaded, alive, and not shutting down."""
    reason = "the server is shutting down" if serving.draining else "the model is being loaded"
    return _probe(serving.is_loaded and serving.is_alive and not serving.draining, reason)


def _probe(good: bool, reason: str) -> Response:
    if not good:
        raise unavailable(reason, 1)
    return _json({"status": "ok"})


async def _body(request: Request, limit: int) -> bytes:
    """The request's body, refused as soon as it is larger than allowed."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/x-www-form-urlencoded"):  # curl -d without -H sends the latter
        raise bad_request(f"Content-Type must be application/json, not {kind[:60]}.", status=415)
    blocks: list[bytes] = []
    size = 0
    async for block in request.stream():
        size += len(block)
        if size > limit:
            raise bad_request(f"The body is larger than the {limit / 1e6:g} MB allowed (--max-body-mb).", status=413)
        blocks.append(block)
    return b"".join(blocks)


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


async def _http_error(_: Request, error: Exception) -> Response:
    """Unknown routes and methods, in the same shape as every other error."""
    assert isinstance(error, HTTPException)
    body = {"message": str(error.detail), "type": "invalid_request_error", "param": None, "code": None}
    return _json({"error": body}, error.status_code)
