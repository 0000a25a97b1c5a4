"""Finding out what an endpoint is and can do, with a few small requests, on first use."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kb.config import EmbedderSettings
from kb.embed.failures import Failure, failure_of
from kb.embed.space import CANARIES, EmbeddingSpace
from kb.embed.tokens import DEFAULT_MAX_TOKENS, TokenCounter, find_tokenizer, local_max_tokens
from kb.embed.wire import Exchange, WireClient
from kb.errors import EndpointError, EndpointModelError
from kb.types import Vector

__all__ = ["EndpointProfile", "RequestFailed", "probe"]

PROBE_SECONDS = 10.0


class RequestFailed(Exception):
    """A request that gave no vectors."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


@dataclass(frozen=True)
class EndpointProfile:
    """What was found out."""

    space: EmbeddingSpace
    tokenizer: TokenCounter
    takes_lists: bool
    base64: bool
    normalised: bool


Send = Callable[[Sequence[str], bool, bool], Vector]  # texts, as a list, in base64


def probe(settings: EmbedderSettings, wire: WireClient, send: Send) -> EndpointProfile:
    """Asks the first endpoint. Raises EndpointError: connection, authentication, model or timeout."""
    base_url = settings.base_urls[0]
    listed = wire.ask("GET", f"{base_url}/models", timeout=min(settings.timeout, PROBE_SECONDS))
    card = _card(listed, settings)
    vectors, takes_lists, base64 = _first_vectors(send)
    norms = np.linalg.norm(vectors, axis=1)
    space = EmbeddingSpace(settings.model, int(vectors.shape[1]), vectors / norms[:, None])
    normalised = bool(np.allclose(norms, 1.0, atol=1e-3))
    return EndpointProfile(space, _tokenizer(settings, wire, base_url, card), takes_lists, base64, normalised)


def _card(listed: Exchange, settings: EmbedderSettings) -> dict[str, Any]:
    """The model as /models lists it, empty where there is no list. Raises EndpointError for a wrong key or name."""
    if listed.status in (401, 403):
        raise failure_of(listed, EndpointError(""), settings).error
    try:
        cards = [card for card in json.loads(listed.body)["data"] if isinstance(card.get("id"), str)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    names = [name for card in cards for name in (card["id"], *card.get("aliases", ()))]
    for card in cards:
        if settings.model in (card["id"], *card.get("aliases", ())):
            return dict(card)
    if names:
        near = difflib.get_close_matches(settings.model, names, n=3, cutoff=0.0)
        raise EndpointModelError(
            f"no model {settings.model!r} there",
            where=f"GET {listed.url}",
            fix=f"Set embedder.model to one that is served: {', '.join(near)}.",
        )
    return {}


def _first_vectors(send: Send) -> tuple[Vector, bool, bool]:
    """The canaries' vectors by the richest form of request that the endpoint takes."""
    try:
        return send(CANARIES, True, True), True, True
    except RequestFailed as failed:
        if not failed.failure.divisible:
            raise failed.failure.error from None
        first = failed.failure.error
    for takes_lists in (True, False):
        try:
            if takes_lists:
                return send(CANARIES, True, False), True, False
            return np.concatenate([send([text], False, False) for text in CANARIES]), False, False
        except RequestFailed as failed:
            if not failed.failure.divisible:
                raise failed.failure.error from None
    raise first


def _tokenizer(settings: EmbedderSettings, wire: WireClient, base_url: str, card: dict[str, Any]) -> TokenCounter:
    tokenizer, source = find_tokenizer(settings)
    max_tokens = (
        settings.max_tokens
        or _whole(card.get("max_model_len"))
        or _told_by_info(wire, base_url, settings)
        or local_max_tokens(settings.model)
        or DEFAULT_MAX_TOKENS
    )
    return TokenCounter(max_tokens, tokenizer, source or "an estimate by length")


def _told_by_info(wire: WireClient, base_url: str, settings: EmbedderSettings) -> int | None:
    """TEI says its limit at /info."""
    root = base_url.removesuffix("/v1")
    told = wire.ask("GET", f"{root}/info", timeout=min(settings.timeout, PROBE_SECONDS))
    try:
        return _whole(json.loads(told.body).get("max_input_length")) if told.status == 200 else None
    except (ValueError, AttributeError):
        return None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
