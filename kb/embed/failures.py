"""From what happened on the wire to one of the guide's four families, and what can be done about it.

Classified by status and root cause: litellm's own classes mislead (a refused connection is its InternalServerError, a
413 its plain APIError).
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import urljoin

from kb.config import EmbedderSettings
from kb.embed.unanswered import unanswered
from kb.embed.wire import Exchange, bare_url, secrets_of
from kb.errors import (
    EndpointAuthenticationError,
    EndpointConnectionError,
    EndpointError,
    EndpointModelError,
    EndpointTimeoutError,
)

__all__ = ["Failure", "Remedy", "RequestFailed", "bad_answer", "evidence", "failure_of", "sentence_of"]

EVIDENCE = 200  # characters of an answer that are shown
MOST_RETRY_AFTER = 120.0  # seconds; who is told to come back later than that should know, not wait
WAIT_STATUSES = frozenset({425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})
OVERLOAD_STATUSES = frozenset({429, 503, 529})
TOO_LARGE = re.compile(
    r"batch size|too many inputs|max(imum)? (allowed )?(client )?batch|payload|body (is|was)? ?(larger|too)", re.I
)
BATCH_LIMIT = re.compile(
    r"(?:maximum allowed batch size|at most|maximum (?:of|is)|<=|≤|limit (?:of|is))\s*:?\s*(\d+)", re.I
)


class Remedy(Enum):
    """What may make the same texts succeed."""

    NONE = auto()
    WAIT = auto()  # the same request, later
    SMALLER = auto()  # fewer texts in a request
    DIVIDE = auto()  # without the one text that it is refused for


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that gave no vectors. `retry_after` (seconds) is the server's wish, `batch_limit` (texts) its limit."""

    error: EndpointError
    remedy: Remedy = Remedy.NONE
    status: int | None = None
    retry_after: float | None = None
    batch_limit: int | None = None
    overloaded: bool = False


class RequestFailed(Exception):
    """A request that gave no vectors."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


def failure_of(
    exchange: Exchange, cause: BaseException, settings: EmbedderSettings, texts: Sequence[str] = ()
) -> Failure:
    """The failure of an exchange; `cause` is what litellm raised, `texts` are what no message may repeat."""
    where = f"POST {exchange.url or bare_url(settings.base_urls[0]) + '/embeddings'}"
    if exchange.failure is not None or exchange.status is None:
        error, worth_waiting = unanswered(exchange, exchange.failure or cause, where, settings)
        timeout = isinstance(error, EndpointTimeoutError)
        return Failure(error, Remedy.WAIT if worth_waiting else Remedy.NONE, overloaded=timeout)
    said = evidence(exchange, settings, texts)
    answer = f"it answers {exchange.status}" + (f": {said}" if said else " with an empty body")
    return _refused(exchange, exchange.status, said, answer, where, settings)


def _refused(
    exchange: Exchange, status: int, said: str, answer: str, where: str, settings: EmbedderSettings
) -> Failure:
    if status in (401, 403, 407):
        return Failure(EndpointAuthenticationError(answer, where=where, fix=_key_fix(status, settings)), status=status)
    if status == 408:
        return Failure(EndpointTimeoutError(answer, where=where, fix=slow_fix(settings)), Remedy.WAIT, status)
    if status in WAIT_STATUSES:
        return _later(exchange, status, answer, where, settings)
    if 300 <= status < 400:
        return Failure(_redirected(exchange, status, where), status=status)
    if status in (404, 405, 410, 501):
        return Failure(_not_there(said, answer, where, settings), status=status)
    if status == 413 or (status in (400, 422) and TOO_LARGE.search(said)):
        fix = "Lower embedder.batch_size."
        limit = BATCH_LIMIT.search(said)
        error = EndpointModelError(answer, where=where, fix=fix)
        return Failure(error, Remedy.SMALLER, status, batch_limit=int(limit[1]) if limit else None)
    if status in (400, 422, 424):
        fix = f"See whether {settings.model!r} takes such a text; embedder.max_tokens bounds its length."
        return Failure(EndpointModelError(answer, where=where, fix=fix), Remedy.DIVIDE, status)
    if status >= 400:
        fix = f"Check embedder.base_url and embedder.model ({settings.model!r}); the server's log says more."
        return Failure(EndpointModelError(answer, where=where, fix=fix), status=status)
    kind = exchange.headers.get("content-type", "").partition(";")[0] or "no content type"
    return Failure(
        bad_answer(f"{answer} ({kind}, {len(exchange.body)} bytes), which is no list of embeddings", where, settings),
        Remedy.DIVIDE,
        status,
    )


def bad_answer(what: str, where: str, settings: EmbedderSettings) -> EndpointModelError:
    """An answer that cannot be what an embedding of the texts should be."""
    fix = f"Check that embedder.base_url leads to a server that embeds with {settings.model!r}, and not to a web page."
    return EndpointModelError(what, where=where, fix=fix)


def _later(exchange: Exchange, status: int, answer: str, where: str, settings: EmbedderSettings) -> Failure:
    overloaded = status in OVERLOAD_STATUSES
    error: EndpointError
    if status in (504, 524):
        error = EndpointTimeoutError(answer, where=where, fix=slow_fix(settings))
    elif overloaded:
        fix = "The server is overloaded or starting: lower embedder.concurrency, raise embedder.retries, or wait."
        error = EndpointConnectionError(answer, where=where, fix=fix)
    else:
        fix = "The server, or the proxy before it, is broken: see its log and whether the model is loaded."
        error = EndpointConnectionError(answer, where=where, fix=fix)
    if exchange.headers.get("x-should-retry", "").lower() == "false":
        # The server has tried what it could (our own: out of memory at the smallest batch): these texts are at fault.
        return Failure(EndpointModelError(answer, where=where, fix=error.fix), Remedy.DIVIDE, status)
    wish = _retry_after(exchange)
    if wish is not None and wish > MOST_RETRY_AFTER:
        error = type(error)(f"{answer} and asks to wait {wish:.0f} s", where=where, fix="Run it again then.")
        return Failure(error, status=status, overloaded=overloaded)
    return Failure(error, Remedy.WAIT, status, retry_after=wish, overloaded=overloaded)


def _redirected(exchange: Exchange, status: int, where: str) -> EndpointError:
    try:
        target = bare_url(urljoin(exchange.url, exchange.headers["location"]))
    except (KeyError, ValueError):
        fix = "Verify embedder.base_url: something answers there, but it is no embedding server."
        return EndpointConnectionError(f"it redirects ({status}) without saying where to", where=where, fix=fix)
    final = target.removesuffix("/").removesuffix("/embeddings")
    return EndpointConnectionError(
        f"it redirects ({status}) to {final}, which is not followed: the key would go along",
        where=where,
        fix=f"Set embedder.base_url to {final} if that is the right place.",
    )


def _not_there(said: str, answer: str, where: str, settings: EmbedderSettings) -> EndpointError:
    """A 404 of the model is a model error; a 404 of the path means that base_url is wrong."""
    if settings.model.lower() in said.lower() or re.search(r"\bmodel\b", said, re.I):
        fix = f"Check embedder.model ({settings.model!r}) against GET {bare_url(settings.base_urls[0])}/models."
        return EndpointModelError(answer, where=where, fix=fix)
    return EndpointConnectionError(
        f"no embeddings route there: {answer}", where=where, fix=_path_fix(settings.base_urls[0])
    )


def _path_fix(base_url: str) -> str:
    if "/v1/v1" in base_url:
        return f"embedder.base_url has /v1 twice: set it to {bare_url(base_url.replace('/v1/v1', '/v1'))}."
    if base_url.endswith("/embeddings"):
        return f"embedder.base_url must not name the route: set it to {bare_url(base_url).removesuffix('/embeddings')}."
    if not base_url.endswith("/v1"):
        return f"embedder.base_url should end in /v1: try {bare_url(base_url)}/v1."
    return "Verify embedder.base_url: something answers there, but it is no embedding server."


def _key_fix(status: int, settings: EmbedderSettings) -> str:
    if status == 407:
        return "The proxy wants a login: see the environment variables HTTPS_PROXY and NO_PROXY."
    header = next((name for name in settings.headers if name.lower() == "authorization"), None)
    if header is not None:
        return f"The header embedder.headers.{header} was sent (it wins over api_key): check it."
    if settings.api_key is not None and settings.api_key.get_secret_value():
        return "The key in embedder.api_key was sent as a bearer token: check it, and embedder.headers."
    return "No key was sent: set embedder.api_key, or an Authorization in embedder.headers."


def slow_fix(settings: EmbedderSettings) -> str:
    """What to do about an endpoint that is too slow."""
    return f"Raise embedder.timeout ({settings.timeout:g} s), lower embedder.batch_size, or check the server's speed."


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
        except (ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else 0.0 if seconds < 0 else None


def evidence(exchange: Exchange, settings: EmbedderSettings, texts: Sequence[str] = ()) -> str:
    """What the body says, shortened, without the secrets and texts of ours that it may repeat."""
    text = exchange.body[:100_000].decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        text = sentence_of(json.loads(text))
    for secret in secrets_of(settings):
        text = text.replace(secret, "***")
    for sent in texts:
        for piece in (sent, sent[:60]):
            text = text.replace(piece, "<text>") if len(piece) >= 12 else text
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= EVIDENCE else text[:EVIDENCE] + "…"


def sentence_of(data: Any) -> str:
    """The sentence in an error object: OpenAI's and vLLM's nested one, TEI's flat one, FastAPI's list of details."""
    match data:
        case {"error": {"message": str(message)}} | {"error": str(message)} | {"message": str(message)}:
            return message
        case {"detail": str(message)}:
            return message
        case {"detail": [*details]}:  # each repeats the whole input under "input": take only place and message
            return "; ".join(
                f"{'.'.join(map(str, detail.get('loc', ())))}: {detail.get('msg', '')}"
                for detail in details[:3]
                if isinstance(detail, dict)
            )
        case _:
            return json.dumps(data, ensure_ascii=False)
