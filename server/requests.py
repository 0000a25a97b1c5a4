"""Reading a request's body: what is asked for, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.errors import bad_request
from server.prompts import AskedPrompt
from server.tokenizing import Side

__all__ = [
    "EmbeddingRequest",
    "RerankRequest",
    "Truncation",
    "parse_body",
    "parse_embedding_request",
    "parse_rerank_request",
    "parse_tokens",
]

# Nobody counts the values of a body smaller than this, which is parsed in a few milliseconds whatever it holds.
SMALL_BODY = 1_000_000


@dataclass(frozen=True, slots=True)
class Truncation:
    """Whether inputs over `limit` tokens may be cut, and at which side; None and 0 where a request leaves it open."""

    allowed: bool | None = None
    limit: int = 0
    side: Side | None = None

    def within(self, most: int, *, by_default: bool) -> Truncation:
        """The same with nothing left open. Raises RequestError for a limit that the model does not reach."""
        if self.limit > most:
            raise bad_request(f"truncate_prompt_tokens is at most {most} here.", parameter="truncate_prompt_tokens")
        allowed = by_default if self.allowed is None else self.allowed
        return Truncation(allowed, self.limit or most, self.side)


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """`texts` or `ids`, never both."""

    model: str | None
    texts: list[str] | None
    ids: list[list[int]] | None
    base64: bool
    dimensions: int | None
    truncation: Truncation
    prompt: AskedPrompt


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Documents to be put in order by how well they fit a query."""

    model: str | None
    query: str
    documents: list[str]
    top_n: int
    return_documents: bool
    truncate: bool | None


def parse_body(body: bytes, *, max_texts: int, max_tokens: int) -> Mapping[str, Any]:
    """The JSON object of a request. Raises RequestError."""
    _check_values(body, max_texts=max_texts, max_tokens=max_tokens)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise bad_request("The body must be a JSON object.")
    return data


def _check_values(body: bytes, *, max_texts: int, max_tokens: int) -> None:
    """Refuses a body of more lists, texts and numbers than any request may have before it is parsed: 32 MB of them take
    seconds, in which nobody else is answered. What is within texts does not count."""
    most_lists, most_numbers = 2 * max_texts + 100, max_tokens + 2 * max_texts + 100
    if len(body) <= SMALL_BODY:
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * most_lists:
        raise bad_request(f"At most {max_texts} texts a request (--max-texts); this one has more.")
    outside = b"".join(plain.split(b'"')[::2])
    if _lists(outside) > most_lists:
        raise bad_request(f"At most {max_texts} texts a request (--max-texts); this one has more.")
    if outside.count(b",") > most_numbers:
        raise bad_request(f"At most {max_tokens} tokens may ever wait here; this request has more.")


def _lists(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def parse_embedding_request(data: Mapping[str, Any], *, max_texts: int) -> EmbeddingRequest:
    """The request, with unknown fields ignored as OpenAI's API does. Raises RequestError."""
    texts, ids = _input(data, max_texts)
    encoding = data.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise bad_request('encoding_format must be "float" or "base64".', parameter="encoding_format")
    return EmbeddingRequest(
        model=_optional(data, "model", str),
        texts=texts,
        ids=ids,
        base64=encoding == "base64",
        dimensions=_optional(data, "dimensions", int),
        truncation=_truncation(data),
        prompt=AskedPrompt(*(_optional(data, name, str) for name in ("input_type", "prompt_name", "prompt"))),
    )


def parse_rerank_request(data: Mapping[str, Any], *, max_texts: int) -> RerankRequest:
    """The request of Cohere's and Jina's rerank API. Raises RequestError."""
    query = _optional(data, "query", str)
    if query is None:
        raise bad_request("query must be a string.", parameter="query")
    given = data.get("documents")
    if not isinstance(given, list) or not given:
        raise bad_request("documents must be a list of strings.", parameter="documents")
    _check_number(len(given), max_texts, "documents")
    documents = [_document(index, item) for index, item in enumerate(given)]
    top_n = _optional(data, "top_n", int)
    if top_n is not None and top_n < 1:
        raise bad_request("top_n must be at least 1.", parameter="top_n")
    return RerankRequest(
        model=_optional(data, "model", str),
        query=query,
        documents=documents,
        top_n=min(top_n or len(documents), len(documents)),
        return_documents=bool(_optional(data, "return_documents", bool)),
        truncate=_optional(data, "truncate", bool),
    )


def _document(index: int, given: Any) -> str:
    text = given.get("text") if isinstance(given, dict) else given
    if isinstance(text, str):
        return text
    raise bad_request(f"document {index} must be a string or have a text.", parameter="documents")


def parse_tokens(data: Mapping[str, Any], *, max_texts: int) -> tuple[str | None, list[list[int]]]:
    """The model's name, and the token ids of one text or of several. Raises RequestError."""
    given = data.get("tokens")
    if not isinstance(given, list) or not given:
        raise bad_request("tokens must be token ids, or lists of them.", parameter="tokens")
    lists = [given] if isinstance(given[0], int) else given
    _check_number(len(lists), max_texts, "tokens")
    return _optional(data, "model", str), _checked_ids(lists, "tokens")


def _check_number(number: int, most: int, parameter: str) -> None:
    if number > most:
        raise bad_request(f"At most {most} texts a request (--max-texts); this one has {number}.", parameter=parameter)


def _truncation(data: Mapping[str, Any]) -> Truncation:
    side = data.get("truncation_side")
    if side not in (None, "left", "right"):
        raise bad_request('truncation_side must be "left" or "right".', parameter="truncation_side")
    limit = _optional(data, "truncate_prompt_tokens", int)
    if limit is None:
        return Truncation(_optional(data, "truncate", bool), side=side)
    if limit < -1 or limit == 0:
        raise bad_request("truncate_prompt_tokens must be positive, or -1.", parameter="truncate_prompt_tokens")
    allowed = _optional(data, "truncate", bool)
    return Truncation(True if allowed is None else allowed, max(limit, 0), side)


def _optional(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if value is None or type(value) is kind:
        return value
    raise bad_request(f"{name} must be of type {kind.__name__}.", parameter=name)


def _input(data: Mapping[str, Any], max_texts: int) -> tuple[list[str] | None, list[list[int]] | None]:
    """Texts or token ids, from any of the four forms: a string, strings, token ids, lists of token ids."""
    given = data.get("input")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        raise bad_request("input must be a string, a list of strings, token ids, or lists of them.", parameter="input")
    if isinstance(given[0], int):
        given = [given]
    _check_number(len(given), max_texts, "input")
    if isinstance(given[0], str):
        return _checked_texts(given), None
    return None, _checked_ids(given, "input")


def _checked_texts(given: list[Any]) -> list[str]:
    for index, text in enumerate(given):
        if not isinstance(text, str):
            raise bad_request(f"input {index} must be a string.", parameter="input")
    return given


def _checked_ids(given: list[Any], parameter: str) -> list[list[int]]:
    for index, ids in enumerate(given):
        if not isinstance(ids, list) or not ids or not all(type(item) is int and item >= 0 for item in ids):
            raise bad_request(f"{parameter} {index} must be a list of token ids.", parameter=parameter)
    return given
