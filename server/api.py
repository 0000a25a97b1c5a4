"""The routes of the server: which there are, who may use them, and the one shape that all errors have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access import Access
from server.documentation import page, schema
from server.embedding import detokenize, embeddings, tokenize
from server.errors import RequestError, failed, shutting_down
from server.messages import error_response, json_response
from server.operations import alive, info, metrics, models, ready, started
from server.rerank import rerank, rerank_as_infinity
from server.serving import Serving, timings

__all__ = ["make_app"]

Handler = Callable[[Serving, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route; `access` says what a request needs to be let in."""

    method: str
    paths: tuple[str, ...]
    handler: Handler
    access: Access = Access.WORK

    @property
    def methods(self) -> tuple[str, ...]:
        """HEAD is asked of whatever can be got."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


ENDPOINTS = (
    Endpoint("POST", ("/v1/embeddings", "/embeddings", "/infinity/embeddings"), embeddings),
    Endpoint("POST", ("/v1/rerank", "/rerank", "/v2/rerank"), rerank),
    Endpoint("POST", ("/infinity/rerank",), rerank_as_infinity),
    Endpoint("POST", ("/tokenize",), tokenize),
    Endpoint("POST", ("/detokenize",), detokenize),
    Endpoint("GET", ("/v1/models", "/models"), models),
    Endpoint("GET", ("/info",), info, Access.LOOK),
    Endpoint("GET", ("/metrics",), metrics, Access.LOOK),
    Endpoint("GET", ("/readyz", "/health"), ready, Access.OPEN),
    Endpoint("GET", ("/startupz",), started, Access.OPEN),
    Endpoint("GET", ("/livez",), alive, Access.OPEN),
)


def make_app(serving: Serving) -> ASGIApp:
    """The application over what is being served: plain ASGI, without middlewares and a router's patterns, which cost
    more per short text than reading the request and writing the answer do."""
    handlers = {
        (method, path): partial(_answer, serving, endpoint, path)
        for endpoint in ENDPOINTS
        for path in endpoint.paths
        for method in endpoint.methods
    }
    described = schema(
        (path, item.method, item.handler.__doc__ or "", item.access) for item in ENDPOINTS for path in item.paths
    )
    for path, body in (("/openapi.json", json_response(described)), ("/docs", HTMLResponse(page(described)))):
        endpoint = Endpoint("GET", (path,), partial(_fixed, bytes(body.body), str(body.media_type)), Access.LOOK)
        for method in endpoint.methods:
            handlers[method, path] = partial(_answer, serving, endpoint, path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        handler = handlers.get((scope["method"], scope["path"]))
        response = await (handler(request) if handler else _no_route(serving, request, handlers))
        await response(scope, receive, send)

    return app


async def _fixed(body: bytes, media_type: str, _: Serving, __: Request) -> Response:
    return Response(body, media_type=media_type)


async def _answer(serving: Serving, endpoint: Endpoint, path: str, request: Request) -> Response:
    """Lets the request in, has it handled, and notes how that went."""
    started_at = time.perf_counter()
    timings(request)  # its clock starts here
    try:
        with serving.admit(request.headers.get("authorization"), endpoint.access):
            response = await endpoint.handler(serving, request)
    except RequestError as error:
        response = error_response(error)
    except asyncio.CancelledError:
        if not serving.draining:
            raise
        # The time to drain is over, and it was not in a queue: its body was on its way, or its texts were tokenised.
        response = error_response(shutting_down())
    except Exception as error:
        serving.log_failure(path, error)
        response = error_response(failed())
    seconds = time.perf_counter() - started_at
    if endpoint.access is Access.WORK:
        response.headers["server-timing"] = timings(request).header(seconds)
        if serving.draining:
            response.headers["connection"] = "close"  # the next request is somebody else's
    _note(serving, path, request, response, seconds)
    return response


async def _no_route(serving: Serving, request: Request, routes: Iterable[tuple[str, str]]) -> Response:
    """Unknown routes and methods, in the same shape as every other error."""
    allowed = sorted(method for method, path in routes if path == request.url.path)
    name = f"{request.method} {request.url.path[:100]}"
    if allowed:
        error = RequestError(405, f"Method not allowed: {name}.", headers={"Allow": ", ".join(allowed)})
    else:
        error = RequestError(404, f"Not found: {name}.")
    response = error_response(error)
    _note(serving, "other", request, response, 0.0)
    return response


def _note(serving: Serving, path: str, request: Request, response: Response, seconds: float) -> None:
    request_id = serving.request_id(request.headers.get("x-request-id"))
    response.headers["x-request-id"] = request_id
    serving.note(path, response.status_code, seconds, request, request_id)
