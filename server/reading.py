"""From a request's body to what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from starlette.requests import Request

from server.messages import read_body
from server.requests import parse_body
from server.serving import Serving

__all__ = ["read"]

Asked = TypeVar("Asked")
Made = TypeVar("Made", covariant=True)

INLINE_BYTES = 256_000  # parsed within a few milliseconds


class Parse(Protocol[Made]):
    """Makes a request of a body's JSON."""

    def __call__(self, data: Mapping[str, Any], *, max_texts: int) -> Made: ...


async def read(serving: Serving, request: Request, parse: Parse[Asked]) -> Asked:
    """What a request asks for, parsed off the event loop where it is large. Raises RequestError."""
    limits = serving.config
    body = await read_body(request, limits)

    def parsed() -> Asked:
        data = parse_body(body, max_texts=limits.max_texts, max_tokens=limits.max_queued_tokens)
        return parse(data, max_texts=limits.max_texts)

    return parsed() if len(body) <= INLINE_BYTES else await serving.in_thread(parsed)
