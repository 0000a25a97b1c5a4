"""Which server answers at a base URL: told by its own routes, each of which only one of them has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kb.embed.wire import Exchange, WireClient

__all__ = ["Server", "listed_names", "recognise", "root_of"]

OWNERS = {"vllm": "vLLM", "infinity": "infinity", "sentence-transformers": "bundled server", "library": "Ollama"}
TGI_SENTENCE = (
    "this is Text Generation Inference (TGI), which generates text and has no embedding route. The server for "
    "embedding models is Text Embeddings Inference: text-embeddings-router --model-id MODEL --port 8000"
)


@dataclass(frozen=True)
class Server:
    """What was found. `cards` are /models' entries, `info` is /info's object; either empty where there is none."""

    kind: str = ""
    cards: Sequence[Mapping[str, Any]] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    models_status: int | None = None
    serves_embeddings: bool = True
    note: str = ""

    def card(self, model: str) -> Mapping[str, Any]:
        """The card of a model, empty where it is not listed."""
        return next((card for card in self.cards if model in _names(card)), {})


def root_of(base_url: str) -> str:
    """The URL under which a server has /health and /info: base_url without /v1."""
    return re.sub(r"(/v1)+$", "", base_url.rstrip("/"))


def recognise(wire: WireClient, base_url: str, *, timeout: float) -> Server:
    """Asks at most five small questions. Never raises."""
    models = wire.ask("GET", f"{base_url}/models", timeout=timeout)
    cards = _cards(models)
    root = root_of(base_url)
    info = _object(wire.ask("GET", f"{root}/info", timeout=timeout))
    found = Server(cards=cards, info=info, models_status=models.status)
    if info.get("server") == "pdf-knowledge-base":
        return _as(found, "bundled server")
    if "max_client_batch_size" in info and "max_input_length" in info:
        return _as(found, "TEI", note=f"Text Embeddings Inference {info.get('version', '')}".strip())
    if "max_input_tokens" in info or "max_total_tokens" in info:
        return _as(found, "TGI", serves_embeddings=False, note=TGI_SENTENCE)
    owners = {str(card.get("owned_by", "")).lower() for card in cards}
    if kind := next((OWNERS[owner] for owner in owners if owner in OWNERS), ""):
        return _as(found, kind)
    return _by_front_page(found, wire, root, timeout)


def _by_front_page(found: Server, wire: WireClient, root: str, timeout: float) -> Server:
    if "version" in _object(wire.ask("GET", f"{root}/api/version", timeout=timeout)):
        return _as(found, "Ollama")
    if found.cards:
        return _as(found, "OpenAI-compatible server")
    front = wire.ask("GET", f"{root}/", timeout=timeout)
    if "text/html" in front.headers.get("content-type", ""):
        title = re.search(rb"<title[^>]*>([^<]{1,80})", front.body[:20_000], re.I)
        name = title[1].decode("utf-8", "replace").strip() if title else front.headers.get("server", "")
        return _as(found, "web server", note=f"a web server answers with a page ({name or 'without a title'})")
    software = front.headers.get("server", "")
    if software.startswith("uvicorn") or b'"detail"' in front.body[:200]:
        return _as(found, "FastAPI service")
    return _as(found, "", note=f"Server: {software}" if software else "")


def _as(found: Server, kind: str, *, serves_embeddings: bool = True, note: str = "") -> Server:
    return Server(kind, found.cards, found.info, found.models_status, serves_embeddings, note)


def listed_names(cards: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every name that /models lists."""
    return [name for card in cards for name in _names(card)]


def _names(card: Mapping[str, Any]) -> list[str]:
    aliases = card.get("aliases")
    names = [card.get("id"), *(aliases if isinstance(aliases, list) else [])]
    # Ollama lists "all-minilm:latest" and takes "all-minilm".
    return [name for given in names if isinstance(given, str) for name in {given, given.removesuffix(":latest")}]


def _cards(exchange: Exchange) -> list[Mapping[str, Any]]:
    data = _object(exchange).get("data")
    return [card for card in data if isinstance(card, Mapping)] if isinstance(data, list) else []


def _object(exchange: Exchange) -> Mapping[str, Any]:
    if exchange.status != 200:
        return {}
    try:
        data = json.loads(exchange.body)
    except ValueError:
        return {}
    return data if isinstance(data, Mapping) else {}
