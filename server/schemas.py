"""The JSON schemas of what the routes take and give."""

from __future__ import annotations

from typing import Any

__all__ = ["ANSWERS", "BODIES", "ERROR"]


def shape(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object that has all of the first, may have the second, and things not named."""
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def rows(item: dict[str, Any], least: int = 0) -> dict[str, Any]:
    """A list."""
    return {"type": "array", "items": item} | ({"minItems": least} if least else {})


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
TEXT: dict[str, Any] = {"type": "string"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
ERROR = shape({"error": shape({"message": TEXT, "type": TEXT, "param": NAME, "code": NAME})})
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
USAGE = shape({"prompt_tokens": COUNT, "total_tokens": COUNT})
VECTOR = {"oneOf": [rows({"type": "number"}, 1), TEXT]}
CARD = shape(
    {
        "id": TEXT,
        "object": {"const": "model"},
        "created": COUNT,
        "kind": {"enum": ["embedding", "rerank"]},
        "aliases": rows(TEXT),
        "max_model_len": COUNT,
        "dtype": TEXT,
        "device": TEXT,
        "backend": TEXT,
        "revision": NAME,
        "fingerprint": rows(rows({"type": "number"})),
    },
    {"dimension": COUNT, "dimensions": {"type": ["array", "null"], "items": COUNT}, "prompts": {"type": "object"}},
)
STATUS = shape({"status": {"const": "ok"}})
ANSWERS: dict[str, dict[str, Any]] = {
    "embeddings": shape(
        {
            "object": {"const": "list"},
            "data": rows(shape({"object": {"const": "embedding"}, "index": COUNT, "embedding": VECTOR}), 1),
            "model": TEXT,
            "usage": USAGE,
        },
        {"truncated_inputs": COUNT},
    ),
    "rerank": shape(
        {
            "id": TEXT,
            "model": TEXT,
            "results": rows(shape({"index": COUNT, "relevance_score": {"type": "number"}}), 1),
            "usage": USAGE,
        }
    ),
    "tokenize": shape({"tokens": rows(rows(COUNT), 1), "counts": rows(COUNT, 1), "max_model_len": COUNT}),
    "detokenize": shape({"texts": rows(TEXT, 1)}),
    "models": shape({"object": {"const": "list"}, "data": rows(CARD, 1)}),
    "info": shape({"pid": COUNT, "models": rows(CARD), "max_texts": COUNT, "max_queued_tokens": COUNT}),
    **dict.fromkeys(("readyz", "health", "startupz", "livez"), STATUS),
}
