"""Reading bodies within their limit, and answering in JSON."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from server.config import ServerConfig
from server.errors import RequestError, bad_request, client_gone

__all__ = ["error_response", "json_response", "read_body"]

# curl -d without -H sends the second.
CONTENT_TYPES = ("application/json", "application/x-www-form-urlencoded")


async def read_body(request: Request, config: ServerConfig) -> bytes:
    """The request's body, refused as soon as it is larger than allowed. Raises RequestError."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        raise bad_request(f"Content-Type must be application/json, not {kind[:60]!r}.", status=415)
    packed = request.headers.get("content-encoding", "identity")
    if packed.lower() != "identity":
        raise bad_request(f"Send the body as it is, not with Content-Encoding {packed[:60]!r}.", status=415)
    limit = config.max_body_bytes
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(config.body_seconds):
            return await _blocks(request, limit)
    except TimeoutError:
        message = f"The request did not arrive within {config.body_seconds:g} s (--body-timeout)."
        raise RequestError(408, message, code="timeout", headers={"Connection": "close"}) from None


async def _blocks(request: Request, limit: int) -> bytes:
    blocks: list[bytes] = []
    size = 0
    while size <= limit:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise client_gone()
        blocks.append(message.get("body", b""))
        size += len(blocks[-1])
        if not message.get("more_body"):
            return b"".join(blocks)
    raise _too_large(limit)


def _too_large(limit: int) -> RequestError:
    message = f"The body is larger than the {limit / 1e6:g} MB allowed (--max-body-mb)."
    return bad_request(message, status=413, headers={"Connection": "close"})  # the rest is not worth reading


def json_response(content: Any, status: int = 200) -> Response:
    """JSON, numpy arrays included."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def error_response(error: RequestError) -> Response:
    """OpenAI's error object, with the status and headers that go with it."""
    response = json_response(error.body, error.status)
    response.headers.update(error.headers)
    return response
