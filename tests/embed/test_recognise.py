"""Which server it is, by the routes that each of them has; the bodies are what the servers answer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from kb.embed import Embedder
from kb.embed.recognise import recognise
from kb.embed.wire import WireClient
from kb.errors import EndpointConnectionError, EndpointModelError
from tests.embed.opening import settings_for
from tests.embed.servers import Answer, HashServer, Request, serve


def cards(*names: str, **more: Any) -> Answer:
    return Answer(body={"object": "list", "data": [{"id": name, "object": "model", **more} for name in names]})


def page(title: str) -> Answer:
    return Answer(200, f"<html><head><title>{title}</title></head></html>".encode(), {"Content-Type": "text/html"})


TEI_INFO = {
    "model_id": "BAAI/bge-m3",
    "model_type": {"embedding": {"pooling": "cls"}},
    "max_concurrent_requests": 512,
    "max_input_length": 8192,
    "max_batch_tokens": 16384,
    "max_client_batch_size": 32,
    "version": "1.9.3",
}
TGI_INFO = {"model_id": "mistral", "max_input_tokens": 4095, "max_total_tokens": 4096, "version": "3.3.7"}
ROUTES: dict[str, dict[str, Answer]] = {
    "vLLM": {"/v1/models": cards("hash", owned_by="vllm", max_model_len=512)},
    "infinity": {"/v1/models": cards("hash", owned_by="infinity", stats={"queue_fraction": 0.0})},
    "TEI": {"/info": Answer(body=TEI_INFO)},
    "TGI": {"/info": Answer(body=TGI_INFO), "/v1/models": cards("mistral", owned_by="mistral")},
    "Ollama": {"/v1/models": cards("all-minilm:latest", owned_by="library"), "/api/version": Answer(body={})},
    "bundled server": {"/info": Answer(body={"server": "pdf-knowledge-base"})},
    "OpenAI-compatible server": {"/v1/models": cards("hash", owned_by="somebody")},
    "web server": {"/": page("Welcome to nginx!")},
    "FastAPI service": {"/": Answer(404, {"detail": "Not Found"})},
    "": {},
}


def with_routes(routes: dict[str, Answer], **habits: Any) -> HashServer:
    class Routed(HashServer):
        def other(self, request: Request) -> Answer:
            return routes.get(request.path, Answer(404, b""))

    return Routed(**habits)


@pytest.mark.parametrize("kind", ROUTES)
def test_each_kind_is_told_by_its_routes(running: ExitStack, kind: str) -> None:
    url = running.enter_context(serve(with_routes(ROUTES[kind])))
    with WireClient({}, timeout=5, connections=1) as wire:
        found = recognise(wire, f"{url}/v1", timeout=5)
    assert found.kind == kind
    assert found.serves_embeddings is (kind != "TGI")


def test_a_tgi_server_says_which_server_is_meant(running: ExitStack) -> None:
    url = running.enter_context(serve(with_routes(ROUTES["TGI"], before=lambda _: Answer(404, b""))))
    with Embedder(settings_for(url)) as embedder, pytest.raises(EndpointModelError, match="text-embeddings-router"):
        embedder.embed_query("why?")


def test_a_web_server_is_called_by_its_title(running: ExitStack) -> None:
    url = running.enter_context(serve(with_routes(ROUTES["web server"], before=lambda _: page("no"))))
    with Embedder(settings_for(url)) as embedder, pytest.raises(EndpointConnectionError, match="Welcome to nginx!"):
        embedder.embed_query("why?")


def test_ollama_takes_a_name_without_its_tag(running: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    url = running.enter_context(serve(with_routes(ROUTES["Ollama"], model="all-minilm")))
    with Embedder(settings_for(url, model="all-minilm", max_tokens=256)) as embedder:
        embedder.embed_query("why?")
    assert "lists no model" not in caplog.text


def test_teis_limits_are_kept_to(running: ExitStack) -> None:
    server = with_routes(ROUTES["TEI"], most_texts=32)
    url = running.enter_context(serve(server))
    with Embedder(settings_for(url)) as embedder:
        assert embedder.profile.max_batch == 32
        assert embedder.profile.traits.max_tokens == 8192
