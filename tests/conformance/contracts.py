"""Servers that keep to somebody else's contract: the guide's FastAPI service, and Text Embeddings Inference.

TEI's is written after its router's source (router/src/http/server.rs, 1.9): routes, limits, statuses, error JSON.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.embed.servers import Answer, HashServer, Request, closed_port, vector_of

__all__ = ["TeiContract", "guide_service"]


@contextmanager
def guide_service() -> Iterator[str]:
    """The guide's own service: one string, no /models, no health, vectors that are not normalised, one at a time."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class EmbeddingRequest(BaseModel):
        input: str
        model: str = "hash"

    app = FastAPI()
    one_at_a_time = threading.Lock()

    def embeddings(request: EmbeddingRequest) -> dict[str, Any]:
        with one_at_a_time:
            words = request.input.split()[:254]  # a tokenizer with truncation=True says nothing of what it cuts
            vector = sum(vector_of(word, 32) for word in words) / max(1, len(words))
        usage = {"prompt_tokens": len(words), "total_tokens": len(words)}
        return {"data": [{"embedding": (vector * 3).tolist(), "index": 0}], "model": request.model, "usage": usage}

    # FastAPI cannot resolve an annotation that is a name of this function.
    embeddings.__annotations__["request"] = EmbeddingRequest
    app.post("/v1/embeddings")(embeddings)
    port = closed_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@dataclass
class TeiContract(HashServer):
    """Text Embeddings Inference: any model name, batches of 32, flat errors, /info and /tokenize, no /v1/models."""

    auto_truncate: bool = False
    max_input_length: int = 64
    most_texts: int | None = 32
    max_concurrent: int = 512  # counted in texts, as TEI does
    payload_limit: int = 2_000_000  # bytes
    backend_dies_on: str = "backend failure"

    def other(self, request: Request) -> Answer:
        if request.path == "/health":
            return Answer(200, b"")
        if request.path == "/info":
            return Answer(
                body={
                    "model_id": "/data/model",
                    "served_model_name": self.model,
                    "model_type": {"embedding": {"pooling": "mean"}},
                    "max_concurrent_requests": self.max_concurrent,
                    "max_input_length": self.max_input_length,
                    "max_batch_tokens": 16384,
                    "max_client_batch_size": self.most_texts,
                    "auto_truncate": self.auto_truncate,
                    "version": "1.9.3",
                }
            )
        if request.path == "/tokenize":
            return Answer(body=[[{"id": 0}] * self.tokens(text) for text in request.body["inputs"]])
        return Answer(404, b"", {"Content-Type": "text/plain"})

    @staticmethod
    def tokens(text: str) -> int:
        return len(text.split()) + 2

    def refusal(self, request: Request) -> Answer | None:
        if "encoding_format" in request.body and request.body["encoding_format"] not in ("float", "base64"):
            return Answer(422, b"Failed to deserialize the JSON body", {"Content-Type": "text/plain"})
        if len(json.dumps(request.body)) > self.payload_limit:
            return Answer(413, b"length limit exceeded", {"Content-Type": "text/plain"})
        texts = request.texts
        if not texts:
            return self.error(400, "`inputs` cannot be empty", "Empty")
        assert self.most_texts is not None
        if len(texts) > self.most_texts:
            return self.error(
                422, f"batch size {len(texts)} > maximum allowed batch size {self.most_texts}", "Validation"
            )
        if len(texts) > self.max_concurrent:
            return self.error(429, "Model is overloaded", "Overloaded")
        if not all(texts):
            return self.error(400, "`inputs` cannot be empty", "Empty")
        longest = max(map(self.tokens, texts))
        if not self.auto_truncate and longest > self.max_input_length:
            message = f"`inputs` must have less than {self.max_input_length} tokens. Given: {longest}"
            return self.error(422, message, "Validation")
        if any(self.backend_dies_on in text for text in texts):
            return self.error(424, "CUDA error", "Backend")
        return None

    @staticmethod
    def error(status: int, message: str, kind: str) -> Answer:
        return Answer(status, {"message": message, "code": status, "type": kind})
