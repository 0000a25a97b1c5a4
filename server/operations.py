"""What an operator and a cluster want to see: probes, the models and limits, metrics. None of it touches a queue."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.errors import unavailable
from server.messages import json_response
from server.serving import Serving

__all__ = ["alive", "info", "metrics", "models", "ready", "started"]


async def models(serving: Serving, _: Request) -> Response:
    """The models served, with their limits."""
    return json_response({"object": "list", "data": [served.card for served in serving.served_models()]})


async def info(serving: Serving, _: Request) -> Response:
    """What runs here, and its limits."""
    return json_response(serving.info())


async def metrics(serving: Serving, _: Request) -> Response:
    """Prometheus metrics."""
    return Response(serving.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def alive(serving: Serving, _: Request) -> Response:
    """Whether the process works: 503 when a model's thread is dead or hangs."""
    return _probe(serving.is_alive, "A model has stopped answering.")


async def started(serving: Serving, _: Request) -> Response:
    """Whether the models are loaded."""
    return _probe(serving.is_loaded, "The model is being loaded.")


async def ready(serving: Serving, _: Request) -> Response:
    """Whether requests are taken: loaded, alive, and not shutting down."""
    reason = "The server is shutting down." if serving.draining else "The model is being loaded."
    return _probe(serving.is_loaded and serving.is_alive and not serving.draining, reason)


def _probe(good: bool, reason: str) -> Response:
    if not good:
        raise unavailable(reason, 1)
    return json_response({"status": "ok"})
