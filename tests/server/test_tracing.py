"""OpenTelemetry: spans at a collector that speaks OTLP over HTTP; a clear word where the packages are missing."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from server_running import start_server

from server.tracing import NEEDED, _is_installed

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for request in requests for part in request.resource_spans for scope in part.scope_spans]
        return [span for scope in scopes for span in scope.spans]


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    collecting = Collector()
    thread = threading.Thread(target=collecting.serve_forever)
    thread.start()
    yield collecting
    collecting.shutdown()
    thread.join()
    collecting.server_close()


@pytest.mark.skipif(not all(map(_is_installed, NEEDED)), reason="needs the extra otel")
def test_a_request_is_a_span_in_the_trace_it_belongs_to(tmp_path: Path, collector: Collector) -> None:
    server = start_server(tmp_path, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    traced = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    body = {"input": ["a text", "another"]}
    assert server.client.post("/v1/embeddings", json=body, headers=traced).status_code == 200
    assert server.client.post("/v1/embeddings", json={"input": []}).status_code == 400
    assert server.client.get("/livez", headers=traced).status_code == 200
    assert server.stop() == 0
    embedded, refused = collector.spans()  # no probe
    said = {item.key: item.value for item in embedded.attributes}
    assert (embedded.trace_id.hex(), embedded.parent_span_id.hex()) == (TRACE, PARENT)
    assert (embedded.name, said["http.response.status_code"].int_value) == ("POST /v1/embeddings", 200)
    spent = sum(said[f"embedding.{part}_ms"].double_value for part in ("tokenize", "queue", "forward"))
    assert 0 < spent <= (embedded.end_time_unix_nano - embedded.start_time_unix_nano) / 1e6 + 1
    assert (said["embedding.lane"].string_value, said["http.route"].string_value) == ("interactive", "/v1/embeddings")
    assert refused.trace_id.hex() != TRACE
    assert refused.trace_id.hex() in server.log.read_text()


@pytest.mark.skipif(not all(map(_is_installed, NEEDED)), reason="needs the extra otel")
def test_a_collector_that_is_not_there_keeps_nobody(tmp_path: Path) -> None:
    server = start_server(tmp_path, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert server.embed("a text").status_code == 200
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 15


@pytest.mark.skipif(importlib.util.find_spec("opentelemetry.sdk") is not None, reason="the extra otel is installed")
def test_what_is_missing_is_said_and_the_server_serves(tmp_path: Path) -> None:
    server = start_server(tmp_path, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert server.embed("a text").status_code == 200
    assert server.stop() == 0
    assert "no traces, though OTEL_EXPORTER_OTLP_ENDPOINT is set" in server.log.read_text()
    assert "pip install opentelemetry-sdk" in server.log.read_text()


def test_without_being_asked_for_nothing_of_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "leave = os._exit\n"
        "def say(status):\n"
        "    print('SDK', 'opentelemetry.sdk' in sys.modules, flush=True)\n"
        "    leave(status)\n"
        "os._exit = say\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    server = start_server(tmp_path, environment={"PYTHONPATH": path}, from_nothing=True)
    assert server.embed("a text").status_code == 200
    assert server.stop() == 0
    assert "SDK False" in server.log.read_text()
