"""The routes of the server: which there are, who may use them, and the one shape that all errors have."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from server.access import Access
from server.documentation import page, schema
from server.embedding import detokenize, embeddings, tokenize
from server.errors import RequestError, failed
from server.messages import error_response, json_response
from server.operations import alive, info, metrics, models, ready, started
from server.rerank import rerank
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


ENDPOINTS = (
    Endpoint("POST", ("/v1/embeddings", "/embeddings"), embeddings),
    Endpoint("POST", ("/v1/rerank", "/rerank", "/v2/rerank"), rerank),
    Endpoint("POST", ("/tokenize",), tokenize),
    Endpoint("POST", ("/detokenize",), detokenize),
    Endpoint("GET", ("/v1/models", "/models"), models),
    Endpoint("GET", ("/info",), info, Access.LOOK),
    Endpoint("GET", ("/metrics",), metrics, Access.LOOK),
    Endpoint("GET", ("/readyz", "/health"), ready, Access.OPEN),
    Endpoint("GET", ("/startupz",), started, Access.OPEN),
    Endpoint("GET", ("/livez",), alive, Access.OPEN),
)


def make_app(serving: Serving) -> Starlette:
    """The application over what is being served. Plain Starlette: a framework's checks would cost more per short
    text than the model does, and what a request says is checked by hand for its errors' sake anyway."""
    routes = [
        Route(path, partial(_answer, serving, endpoint, path), methods=[endpoint.method])
        for endpoint in ENDPOINTS
        for path in endpoint.paths
    ]
    described = schema((path, item.method, item.handler.__doc__ or "") for item in ENDPOINTS for path in item.paths)
    routes.append(Route("/openapi.json", lambda _: json_response(described)))
    routes.append(Route("/docs", lambda _: HTMLResponse(page(described))))
    return Starlette(routes=routes, exception_handlers={HTTPException: partial(_no_route, serving)})


async def _answer(serving: Serving, endpoint: Endpoint, path: str, request: Request) -> Response:
    """Lets the request in, has it handled, and notes how that went."""
    started_at = time.perf_counter()
    try:
        with serving.admit(request.headers.get("authorization"), endpoint.access):
            response = await endpoint.handler(serving, request)
    except RequestError as error:
        response = error_response(error)
    except Exception as error:
        serving.log_failure(path, error)
        response = error_response(failed())
    seconds = time.perf_counter() - started_at
    request_id = serving.request_id(request.headers.get("x-request-id"))
    response.headers["x-request-id"] = request_id
    if endpoint.access is Access.WORK:
        response.headers["server-timing"] = timings(request).header(seconds)
    serving.note(path, response.status_code, seconds, request, request_id)
    return response


async def _no_route(serving: Serving, request: Request, error: Exception) -> Response:
    """Unknown routes and methods, in the same shape as every other error."""
    assert isinstance(error, HTTPException)
    headers: dict[str, Any] = dict(error.headers or {})
    response = error_response(
        RequestError(error.status_code, f"{error.detail}: {request.url.path[:100]}", headers=headers)
    )
    response.headers["x-request-id"] = serving.request_id(request.headers.get("x-request-id"))
    serving.note("other", error.status_code, 0.0, request, response.headers["x-request-id"])
    return response
