"""A span for each request, for those who asked for it by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER …). For all others nothing is imported and nothing is done."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["Traces", "open_traces"]

logger = logging.getLogger(__name__)

ASKED_BY = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
PACKAGES = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"  # the extra otel
SERVICE = "embedding-server"
# A collector that does not answer must not keep a server that is told to end.
FLUSH_SECONDS = 3.0


class Traces:
    """Sends spans in a thread of its own; `note` only hands them over."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        service = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", SERVICE)})
        self._provider: Any = TracerProvider(resource=service)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("server")
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)

    def note(
        self, route: str, status: int, seconds: float, headers: Mapping[str, str], details: Mapping[str, str | float]
    ) -> str:
        """A request that has just ended, in the trace that its headers name; the id of its trace.

        Where its time went are attributes, not spans: texts of a bulk wait and run by turns, in no order that spans
        could show.
        """
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"POST {route}",
            context=self._propagator.extract(headers),
            kind=self._kind,
            start_time=ended - int(1e9 * seconds),
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "http.response.status_code": status,
                **{f"embedding.{name}": value for name, value in details.items()},
            },
        )
        if status >= 500:
            span.set_status(self._failed)
        span.end(ended)
        return f"{span.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Sends what is left, if that can be done soon."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)


def open_traces() -> Traces | None:
    """None where nobody asked for them; where they cannot be had, that is said."""
    asked = next((name for name in ASKED_BY if os.environ.get(name)), None)
    if asked is None or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    if not all(map(_is_installed, NEEDED)):
        logger.warning("no traces, though %s is set: their packages are missing: pip install %s", asked, PACKAGES)
        return None
    return Traces()


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even its parent is
        return False
