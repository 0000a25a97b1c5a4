"""Asking the endpoint itself how many tokens texts have, in the form that its kind of server takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from kb.config import EmbedderSettings
from kb.embed.sender import Sender
from kb.embed.tokens import AskEndpoint
from kb.embed.wire import Exchange
from kb.errors import EndpointModelError

__all__ = ["asker_of"]

TEXTS_A_REQUEST = 32  # TEI's limit


def asker_of(kind: str, settings: EmbedderSettings, sender: Sender) -> AskEndpoint | None:
    """A function from texts to their numbers of tokens, specials included; None for a server without the route."""
    forms: dict[str, tuple[int, Callable[[Sequence[str]], Any], Callable[[Any], list[int]]]] = {
        "TEI": (TEXTS_A_REQUEST, lambda texts: {"inputs": list(texts), "add_special_tokens": True}, _lengths),
        "vLLM": (1, lambda texts: {"model": settings.model, "prompt": texts[0]}, lambda data: [data["count"]]),
        "bundled server": (
            TEXTS_A_REQUEST,
            lambda texts: {"model": settings.model, "input": list(texts)},
            lambda data: list(data["counts"]),
        ),
    }
    if kind not in forms:
        return None
    most, body_of, counts_in = forms[kind]

    def ask(texts: Sequence[str]) -> list[int]:
        counts: list[int] = []
        for start in range(0, len(texts), most):
            part = texts[start : start + most]
            exchange = sender.ask("/tokenize", body_of(part), part)
            counts += _counts(exchange, len(part), counts_in)
        return counts

    return ask


def _counts(exchange: Exchange, expected: int, counts_in: Callable[[Any], list[int]]) -> list[int]:
    try:
        counts = counts_in(json.loads(exchange.body))
    except (ValueError, KeyError, TypeError):
        counts = []
    if len(counts) != expected:
        raise EndpointModelError(
            "the answer has no token counts", where=f"POST {exchange.url}", fix="Set embedder.tokenizer instead."
        )
    return counts


def _lengths(data: Any) -> list[int]:
    return [len(tokens) for tokens in data]
