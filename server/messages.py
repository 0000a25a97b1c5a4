"""Reading bodies within their limit, and answering in JSON."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.errors import RequestError, bad_request, unavailable

__all__ = ["error_response", "json_response", "read_body"]

# curl -d without -H sends the second.
CONTENT_TYPES = ("application/json", "application/x-www-form-urlencoded")


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body, refused as soon as it is larger than allowed. Raises RequestError."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        raise bad_request(f"Content-Type must be application/json, not {kind[:60]!r}.", status=415)
    declared = request.headers.get("content-length", "0")
    blocks: list[bytes] = []
    size = int(declared) if declared.isdecimal() and int(declared) > limit else 0
    try:
        while size <= limit:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            blocks.append(message.get("body", b""))
            size += len(blocks[-1])
            if not message.get("more_body"):
                return b"".join(blocks)
    except ClientDisconnect:
        raise unavailable("The client went away.", 1) from None
    raise bad_request(
        f"The body is larger than the {limit / 1e6:g} MB allowed (--max-body-mb).",
        status=413,
        headers={"Connection": "close"},  # what is left of the body is not worth reading
    )


def json_response(content: Any, status: int = 200) -> Response:
    """JSON, numpy arrays included."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def error_response(error: RequestError) -> Response:
    """OpenAI's error object, with the status and headers that go with it."""
    response = json_response(error.body, error.status)
    response.headers.update(error.headers)
    return response
