"""The OpenAPI description of the routes, and a page that shows it without a network or a script."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

__all__ = ["page", "schema"]

TEXTS: dict[str, Any] = {
    "oneOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
        },
    ]
}
NAME = {"type": ["string", "null"]}
SWITCH = {"type": ["boolean", "null"]}
NUMBER = {"type": ["integer", "null"]}
BODIES: dict[str, tuple[dict[str, Any], list[str], dict[str, Any]]] = {
    "embeddings": (
        {
            "input": TEXTS,
            "model": NAME,
            "encoding_format": {"enum": ["float", "base64", None]},
            "dimensions": NUMBER,
            "input_type": NAME,
            "prompt_name": NAME,
            "prompt": NAME,
            "truncate": SWITCH,
            "truncate_prompt_tokens": NUMBER,
            "truncation_side": {"enum": ["left", "right", None]},
            "user": NAME,
        },
        ["input"],
        {"input": ["first text", "second text"], "model": "all-MiniLM-L6-v2"},
    ),
    "rerank": (
        {
            "query": {"type": "string"},
            "documents": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "oneOf": [
                        {"type": "string"},
                        {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
                    ]
                },
            },
            "model": NAME,
            "top_n": NUMBER,
            "return_documents": SWITCH,
            "truncate": SWITCH,
        },
        ["query", "documents"],
        {"query": "what fell?", "documents": ["Margins fell.", "It rained."]},
    ),
    "tokenize": ({"input": {"oneOf": TEXTS["oneOf"][:2]}, "model": NAME}, ["input"], {"input": "some text"}),
    "detokenize": ({"tokens": {"oneOf": TEXTS["oneOf"][2:]}, "model": NAME}, ["tokens"], {"tokens": [101, 102]}),
}
STATUSES = {
    400: "The request is wrong, or an input too long; the message says what and where.",
    401: "The key is missing or wrong.",
    404: "No such model; the message names those there are.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Overloaded; Retry-After says for how long.",
    500: "The server failed on this request.",
    503: "Loading or shutting down.",
    504: "The time for the request was over.",
}


def schema(routes: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """The OpenAPI document of routes: path, method and description of each."""
    paths: dict[str, dict[str, Any]] = {}
    for path, method, summary in routes:
        paths.setdefault(path, {})[method.lower()] = _operation(path.rsplit("/", 1)[1], summary)
    error = {"type": "object", "required": ["message", "type", "param", "code"]}
    shapes = {"Error": {"type": "object", "required": ["error"], "properties": {"error": error}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Embedding server", "version": "1"},
        "paths": paths,
        "components": {"schemas": shapes, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(name: str, summary: str) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    failures = {str(status): {"description": text, "content": error} for status, text in STATUSES.items()}
    operation: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": "As asked."}, **failures}}
    if name in BODIES:
        properties, required, example = BODIES[name]
        body = {"type": "object", "properties": properties, "required": required}
        content = {"application/json": {"schema": body, "example": example}}
        operation["requestBody"] = {"required": True, "content": content}
        operation["security"] = [{}, {"key": []}]
    return operation


def page(described: dict[str, Any]) -> str:
    """The routes as HTML."""
    parts = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2>{method.upper()} {html.escape(path)}</h2><p>{html.escape(operation['summary'])}</p>")
            for content in operation.get("requestBody", {}).get("content", {}).values():
                fields = ", ".join(content["schema"]["properties"])
                example = json.dumps(content["example"], indent=2)
                parts.append(f"<p>Fields: {html.escape(fields)}</p><pre>{html.escape(example)}</pre>")
    statuses = "".join(f"<tr><td>{status}<td>{html.escape(text)}" for status, text in STATUSES.items())
    return (
        "<!doctype html><meta charset=utf-8><title>Embedding server</title>"
        "<body style='font-family:sans-serif;max-width:50em;margin:2em auto'><h1>Embedding server</h1>"
        "<p>The machine-readable description is at <a href=/openapi.json>/openapi.json</a>.</p>"
        f"{''.join(parts)}<h2>Errors</h2><table>{statuses}</table>"
    )
