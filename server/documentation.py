"""The OpenAPI description of the routes, and a page that shows it without a network or a script."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from server.access import Access
from server.schemas import ANSWERS, BODIES, ERROR

__all__ = ["page", "schema"]

STATUSES = {
    400: "The request is wrong, or an input too long; the message says what and where.",
    401: "The key is missing or wrong.",
    404: "No such model; the message names those there are.",
    405: "The route takes another method; Allow says which.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Overloaded; Retry-After says for how long.",
    500: "The server failed on this request.",
    503: "Loading or shutting down.",
    504: "The time for the request was over.",
}


def schema(routes: Iterable[tuple[str, str, str, Access]]) -> dict[str, Any]:
    """The OpenAPI document of routes: path, method, description and access of each."""
    paths: dict[str, dict[str, Any]] = {}
    for path, method, summary, access in routes:
        paths.setdefault(path, {})[method.lower()] = _operation(path.rsplit("/", 1)[1], summary, access)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Embedding server", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(name: str, summary: str, access: Access) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: dict[str, Any] = {
        str(status): {"description": text, "content": error} for status, text in STATUSES.items()
    }
    answers["200"] = {"description": "As asked."}
    if name in ANSWERS:
        answers["200"]["content"] = {"application/json": {"schema": ANSWERS[name]}}
    operation: dict[str, Any] = {"summary": summary, "responses": answers}
    if access is not Access.OPEN:
        operation["security"] = [{}, {"key": []}]  # without keys, none is asked for
    if name in BODIES:
        properties, required, example = BODIES[name]
        body = {"type": "object", "properties": properties, "required": required}
        content = {"application/json": {"schema": body, "example": example}}
        operation["requestBody"] = {"required": True, "content": content}
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
