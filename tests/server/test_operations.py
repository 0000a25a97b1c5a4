"""What an operator relies on: deadlines, a watchdog, timings, metrics that Prometheus takes, logs that keep secrets."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from server_running import RunningServer, start_server

from server import batching, serving
from server.app import TRIM_SECONDS
from server.batching import Batcher
from server.config import parse_arguments
from server.metrics import Metrics
from server.queues import measured_rate
from server.serving import Serving

BULK = [f"Sentence number {index} about freight costs and margins. " * 8 for index in range(256)]
SECRET_TEXT = "the merger with Umbrella closes in May"


def metric(server: RunningServer, name: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{re.escape(name)}[ {{]", line))


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_a_request_whose_time_is_over_is_a_504_and_its_work_is_dropped(server: RunningServer) -> None:
    dropped = metric(server, "kb_embed_cancelled_total")
    late = server.client.post(
        "/v1/embeddings", json={"input": BULK * 4}, headers={"X-Request-Timeout": "0.3"}, timeout=60
    )
    error = late.json()["error"]
    assert (late.status_code, error["type"], late.headers["x-should-retry"]) == (504, "timeout_error", "false")
    assert server.embed("still there").status_code == 200
    assert metric(server, "kb_embed_cancelled_total") > dropped


@pytest.mark.parametrize("asked", ["soon", "-1", "nan", "1e9", ""])
def test_a_deadline_that_is_no_number_of_seconds_is_a_400(server: RunningServer, asked: str) -> None:
    response = server.client.post("/v1/embeddings", json={"input": "a"}, headers={"X-Request-Timeout": asked})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "x-request-timeout")


# --- the watchdog ----------------------------------------------------------------------------------------------------


def test_a_batch_that_hangs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(batching, "STUCK_FACTOR", 0)
    gate = threading.Event()

    def hanging(batch: Sequence[Sequence[int]]) -> np.ndarray:
        gate.wait(10)
        return np.zeros((len(batch), 1), np.float32)

    batcher = Batcher(hanging, max_batch_tokens=64, metrics=Metrics(), name="hanging")

    async def hang() -> None:
        waiting = batcher.submit([[1, 2]])
        deadline = time.monotonic() + 5
        while not batcher.is_stuck and time.monotonic() < deadline:
            time.sleep(0.02)
        assert batcher.is_stuck
        gate.set()
        await waiting

    asyncio.run(hang())
    assert not batcher.is_stuck
    batcher.close()


def test_a_thread_that_ended_is_seen() -> None:
    batcher = Batcher(
        lambda batch: np.zeros((len(batch), 1), np.float32), max_batch_tokens=64, metrics=Metrics(), name=""
    )
    assert not batcher.is_stuck
    batcher.close()
    assert batcher.is_stuck


def test_a_model_that_is_slow_is_not_taken_for_one_that_hangs() -> None:
    """What a batch should take is known from the model itself before the first one comes."""

    def slow(batch: Sequence[Sequence[int]]) -> np.ndarray:
        time.sleep(sum(map(len, batch)) / 500)
        return np.zeros((len(batch), 1), np.float32)

    assert 200 < measured_rate(slow, 512) <= 500
    assert 200 < measured_rate(slow, 16) <= 500


def test_a_client_that_leaves_as_its_answer_is_ready_ends_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "WATCH_SECONDS", 0.01)

    async def watched() -> None:
        watching = Serving(parse_arguments([]))
        working: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()

        async def is_disconnected() -> bool:
            working.set_result(np.zeros((1, 1), np.float32))
            return True

        request: Any = SimpleNamespace(is_disconnected=is_disconnected)
        watching._waiting[working] = request, 0.0
        task = asyncio.create_task(watching.watch())
        await working
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()

    asyncio.run(watched())


# --- timings ---------------------------------------------------------------------------------------------------------


def test_answers_say_where_the_time_went(server: RunningServer) -> None:
    """All but a twentieth of it; the median of several, for the machine may be busy with something else."""
    shares = []
    for _ in range(5):
        header = server.embed(BULK[:64]).headers["server-timing"]
        parts = {name: float(value) for name, value in re.findall(r"(\w+);dur=([\d.]+)", header)}
        assert set(parts) == {"tokenize", "queue", "forward", "total"}
        shares.append((parts["tokenize"] + parts["queue"] + parts["forward"]) / parts["total"])
    assert 0.95 <= statistics.median(shares) <= 1.05, shares


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.debian("prometheus")
def test_prometheus_takes_the_metrics(server: RunningServer) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: install the Debian package prometheus")
    server.embed(BULK[:8])
    text = server.client.get("/metrics").text
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_metrics_tell_what_runs_and_what_waits(server: RunningServer) -> None:
    with ThreadPoolExecutor(2) as threads:
        working = [threads.submit(server.embed, BULK) for _ in range(2)]
        time.sleep(0.3)
        waiting = metric(server, "kb_embed_queue_tokens"), metric(server, "kb_embed_queue_requests")
        assert all(future.result().status_code == 200 for future in working)
    assert min(waiting) > 0
    assert metric(server, "kb_embed_queue_tokens") == metric(server, "kb_embed_queue_requests") == 0
    assert metric(server, "kb_embed_oldest_queued_seconds") == 0
    assert metric(server, "kb_embed_tokens_per_second") > 0
    assert metric(server, "kb_embed_worker_up") == 1
    assert metric(server, "kb_embed_model_info") == 1


def test_metrics_tell_of_the_gpus_in_use_and_survive_what_those_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for torch, for want of GPUs: a part of one (MIG) has no utilisation."""

    def utilization(device: str) -> int:
        if device == "cuda:3":
            raise Exception("NVMLError_NotSupported")
        return 40

    cuda = SimpleNamespace(mem_get_info=lambda device: (1_000, 3_000), utilization=utilization)
    monkeypatch.setitem(sys.modules, "torch", cast("ModuleType", SimpleNamespace(cuda=cuda)))
    model = SimpleNamespace(name="m")
    numbers = dict.fromkeys(("queued_tokens", "queued_requests", "oldest_queued_seconds", "tokens_per_second"), 0)
    served: Any = SimpleNamespace(model=model, card={}, devices=["cuda:1", "cuda:3"], is_alive=True, **numbers)
    metrics = Metrics()
    metrics.observe_models([served])
    text = metrics.render().decode()
    assert 'kb_embed_gpu_memory_bytes{device="cuda:3",kind="used"} 2000.0' in text
    assert 'kb_embed_gpu_utilization_ratio{device="cuda:1"} 0.4' in text
    assert "cuda:0" not in text


def test_metrics_tell_the_lanes_apart(server: RunningServer) -> None:
    def counted(lane: str) -> float:
        text = server.client.get("/metrics").text
        labels = rf'lane="{lane}",route="/v1/embeddings",status="200"'
        found = re.search(rf"kb_embed_requests_total{{{labels}}} ([\d.]+)", text)
        return float(found[1]) if found else 0.0

    before = counted("interactive"), counted("bulk")
    assert [server.embed("a question").status_code, server.embed(BULK[:8]).status_code] == [200, 200]
    assert (counted("interactive"), counted("bulk")) == (before[0] + 1, before[1] + 1)
    assert 'kb_embed_queue_seconds_count{lane="bulk"}' in server.client.get("/metrics").text


def test_nothing_of_a_batch_is_padding(server: RunningServer) -> None:
    before = _tokens(server)
    texts = ["word " * (1 + index * 37 % 200) for index in range(256)]
    assert server.embed(texts).status_code == 200
    after = _tokens(server)
    real, padded = after["real"] - before["real"], after["padded"] - before["padded"]
    assert padded == real > 0


def _tokens(server: RunningServer) -> dict[str, float]:
    text = server.client.get("/metrics").text
    found = re.findall(r'^kb_embed_tokens_total\{kind="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {"real": 0.0, "padded": 0.0} | {kind: float(value) for kind, value in found}


# --- logs and keys ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(
        tmp_path_factory.mktemp("logged"),
        *("--log-format", "json", "--log-level", "debug"),
        environment={"PDFKB_SERVER_API_KEY": "sk-very-secret"},
    )
    yield running
    running.stop()


def lines(server: RunningServer) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def test_a_request_is_one_line_of_json_with_its_id_and_timings(logged: RunningServer) -> None:
    logged.client.post("/v1/embeddings", json={"input": "a"}, headers={"x-request-id": "mine-7"})
    [line] = [line for line in lines(logged) if line.get("request_id") == "mine-7"]
    assert (line["route"], line["status"], line["level"]) == ("/v1/embeddings", 200, "info")
    assert {"ms", "tokenize", "queue", "forward"} <= set(line)


def test_a_trace_that_a_request_belongs_to_is_in_its_line(logged: RunningServer) -> None:
    headers = {"x-request-id": "mine-8", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    logged.client.post("/v1/embeddings", json={"input": "a"}, headers=headers)
    [line] = [line for line in lines(logged) if line.get("request_id") == "mine-8"]
    assert line["trace_id"] == "ab" * 16


def test_neither_keys_nor_texts_are_in_the_logs(logged: RunningServer) -> None:
    logged.embed(SECRET_TEXT)
    logged.embed([SECRET_TEXT, 3])
    logged.client.post("/v1/embeddings", content=SECRET_TEXT.encode())
    httpx.post(f"{logged.url}/v1/embeddings", json={"input": SECRET_TEXT}, headers={"Authorization": "Bearer sk-wrong"})
    text = logged.log.read_text()
    assert "sk-very-secret" not in text
    assert "sk-wrong" not in text
    assert "Umbrella" not in text


def test_info_tells_limits_and_no_secrets(logged: RunningServer) -> None:
    info = logged.client.get("/info")
    assert info.json()["max_texts"] == 2048
    assert "sk-very-secret" not in info.text


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_what_was_served(server: RunningServer) -> None:
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("/proc is missing")

    def resident() -> int:
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text())
        assert found is not None
        return int(found[1])

    def embed(length: int) -> None:  # batches of ever other shapes, each of which could leave something behind
        texts = ["word " * length] * (1 + length % 5) + ["x" * 60_000]
        assert server.embed(texts, truncate=True).status_code == 200

    for length in range(1, 240, 6):
        embed(length)
    time.sleep(TRIM_SECONDS + 1)
    before = resident()
    for length in (*range(3, 240, 6), *range(5, 240, 6)):
        embed(length)
    time.sleep(TRIM_SECONDS + 1)
    assert resident() <= 1.05 * before
