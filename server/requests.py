"""Reading a request's body: what is asked for, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.errors import RequestError, bad_request

__all__ = ["EmbeddingRequest", "parse_body", "parse_embedding_request"]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """`texts` or `ids`, never both; `truncate` is None where the request leaves it to the server."""

    model: str | None
    texts: list[str] | None
    ids: list[list[int]] | None
    base64: bool
    dimensions: int | None
    truncate: bool | None
    input_type: str | None

    def __len__(self) -> int:
        return len(self.texts if self.texts is not None else self.ids or [])


def parse_body(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a request. Raises RequestError."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise bad_request("The body must be a JSON object.")
    return data


def parse_embedding_request(data: Mapping[str, Any], *, max_texts: int) -> EmbeddingRequest:
    """The request, with unknown fields ignored as OpenAI's API does. Raises RequestError."""
    texts, ids = _input(data)
    number = len(texts if texts is not None else ids or [])
    if number > max_texts:
        raise bad_request(f"At most {max_texts} inputs a request; this one has {number}.", parameter="input")
    encoding = data.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise bad_request('encoding_format must be "float" or "base64".', parameter="encoding_format")
    return EmbeddingRequest(
        model=_optional(data, "model", str),
        texts=texts,
        ids=ids,
        base64=encoding == "base64",
        dimensions=_optional(data, "dimensions", int),
        truncate=_optional(data, "truncate", bool),
        input_type=_optional(data, "input_type", str),
    )


def _optional(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if value is None or type(value) is kind:
        return value
    raise bad_request(f"{name} must be of type {kind.__name__}.", parameter=name)


def _input(data: Mapping[str, Any]) -> tuple[list[str] | None, list[list[int]] | None]:
    """Texts or token ids, from any of the four forms: a string, strings, token ids, lists of token ids."""
    given = data.get("input")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        raise bad_request("input must be a string, a list of strings, token ids, or lists of them.", parameter="input")
    if isinstance(given[0], str):
        return _checked_texts(given), None
    if isinstance(given[0], int):
        given = [given]
    return None, _checked_ids(given)


def _checked_texts(given: list[Any]) -> list[str]:
    for index, text in enumerate(given):
        if not isinstance(text, str):
            raise _wrong_item(index, "a string")
    return given


def _checked_ids(given: list[Any]) -> list[list[int]]:
    for index, ids in enumerate(given):
        if not isinstance(ids, list) or not ids or not all(type(item) is int and item >= 0 for item in ids):
            raise _wrong_item(index, "a list of token ids")
    return given


def _wrong_item(index: int, expected: str) -> RequestError:
    return bad_request(f"input {index} must be {expected}.", parameter="input")
