"""From what happened on the wire to one of the guide's four families, and whether trying again can help.

Classified by status and root cause: litellm's own classes mislead (a refused connection is its InternalServerError, a
413 its plain APIError).
"""

from __future__ import annotations

import email.utils
import json
import time
from dataclasses import dataclass

import httpx

from kb.config import EmbedderSettings
from kb.embed.wire import Exchange, secrets_of
from kb.errors import (
    EndpointAuthenticationError,
    EndpointConnectionError,
    EndpointError,
    EndpointModelError,
    EndpointTimeoutError,
)

__all__ = ["Failure", "failure_of"]

EVIDENCE = 200
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
# The request itself is at fault: a smaller one, or one without a bad text, may pass.
SIZE_STATUSES = frozenset({400, 413, 422})
MOST_RETRY_AFTER = 300.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that gave no vectors. `retry_after` is what the server asked for, in seconds."""

    error: EndpointError
    retryable: bool = False
    divisible: bool = False
    retry_after: float | None = None


def failure_of(exchange: Exchange, cause: BaseException, settings: EmbedderSettings) -> Failure:
    """The failure that an exchange ended in; `cause` is what litellm raised."""
    where = f"POST {exchange.url or settings.base_urls[0] + '/embeddings'}"
    if exchange.failure is not None or exchange.status is None:
        return _without_answer(exchange.failure or cause, where, settings)
    said = _said(exchange, settings)
    status = exchange.status
    answer = f"it answers {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        fix = "Check embedder.api_key and embedder.headers (an Authorization there wins over api_key)."
        return Failure(EndpointAuthenticationError(answer, where=where, fix=fix))
    if status in (408, 504):
        return Failure(EndpointTimeoutError(answer, where=where, fix=_slow_fix(settings)), retryable=True)
    if status in RETRIED_STATUSES:
        fix = "The server is overloaded, starting or broken: look at its log, or lower embedder.concurrency."
        failed = EndpointConnectionError(answer, where=where, fix=fix)
        return Failure(failed, retryable=True, retry_after=_retry_after(exchange))
    if 300 <= status < 400:
        fix = "Redirects are not followed, for the key would go along: set embedder.base_url to the final address."
        return Failure(EndpointConnectionError(answer, where=where, fix=fix))
    if status == 404:
        return Failure(EndpointModelError(answer, where=where, fix=_not_found_fix(said, settings)))
    if status in SIZE_STATUSES:
        fix = f"See whether the model {settings.model!r} takes such input; embedder.max_tokens bounds its length."
        return Failure(EndpointModelError(answer, where=where, fix=fix), divisible=True)
    if status >= 400:
        fix = f"Check embedder.base_url and embedder.model ({settings.model!r}); the server's log says more."
        return Failure(EndpointModelError(answer, where=where, fix=fix))
    return Failure(not_embeddings(f"it answers {status}, but not with embeddings: {said}", where, settings))


def not_embeddings(what: str, where: str, settings: EmbedderSettings) -> EndpointModelError:
    """An answer that is none: no JSON, the wrong number or size of vectors, NaN."""
    fix = f"Check that {settings.base_urls[0]}/embeddings serves embeddings of {settings.model!r}."
    return EndpointModelError(what, where=where, fix=fix)


def _without_answer(cause: BaseException, where: str, settings: EmbedderSettings) -> Failure:
    if isinstance(cause, httpx.ConnectTimeout):
        fix = "Check embedder.base_url and the network: host, port, firewall."
        what = f"no connection within {settings.timeout:g} s"
        return Failure(EndpointTimeoutError(what, where=where, fix=fix), retryable=True)
    if isinstance(cause, httpx.TimeoutException):
        what = f"no complete answer within {settings.timeout:g} s"
        return Failure(EndpointTimeoutError(what, where=where, fix=_slow_fix(settings)), retryable=True)
    fix = "Verify embedder.base_url and the network, and that the server is running there."
    what = str(_root(cause)) or type(cause).__name__
    return Failure(EndpointConnectionError(what[:EVIDENCE], where=where, fix=fix), retryable=True)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _slow_fix(settings: EmbedderSettings) -> str:
    return f"Raise embedder.timeout ({settings.timeout:g} s), lower embedder.batch_size, or check the server's speed."


def _not_found_fix(said: str, settings: EmbedderSettings) -> str:
    if "model" in said.lower():
        return f"Check embedder.model ({settings.model!r}) against GET {settings.base_urls[0]}/models."
    if not settings.base_urls[0].endswith("/v1"):
        return "embedder.base_url should end in /v1."
    return f"Check embedder.base_url, and that the server has an embeddings route and the model {settings.model!r}."


def _retry_after(exchange: Exchange) -> float | None:
    """Retry-After in seconds, whether it was given as seconds or as a date."""
    value = exchange.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(0.0, seconds), MOST_RETRY_AFTER)


def _said(exchange: Exchange, settings: EmbedderSettings) -> str:
    """What the body says, shortened, with every secret of ours that it may repeat taken out."""
    text = exchange.body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
        error = data.get("error", data) if isinstance(data, dict) else data
        text = error if isinstance(error, str) else str(error.get("message") or error.get("detail") or error)
    except (ValueError, AttributeError):
        pass
    for secret in secrets_of(settings):
        text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= EVIDENCE else text[:EVIDENCE] + "…"
