"""Nothing is lost: kill -9 of any process at many moments, Ctrl-C, a dying endpoint, two ingests at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from making import make_pdf, write_config
from server_running import start_server

from kb import KnowledgeBase
from kb.report import Outcome

DOCUMENTS = 12
# Random moments at which each kind of process is killed. The ordinary run of the suite tries a few.
MOMENTS = int(os.environ.get("PDFKB_KILL_MOMENTS", "2"))
RUN_SECONDS = 2.0  # about what an ingest of the papers takes once it has begun
Content = dict[str, tuple[str, int, str]]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    for number in range(DOCUMENTS):
        pages = [
            "\n".join(f"Report {number}, page {page}, line {line}: value {number * page * line}." for line in range(10))
            for page in range(1, 5)
        ]
        make_pdf(folder / f"report {number}.pdf", pages, title=f"Report {number}")
    return folder


def contents(config: Path) -> tuple[Content, np.ndarray]:
    """Chunks by id with text, page and document, and their vectors in the order of ids: no orphan, nothing twice."""
    with KnowledgeBase.open(config) as knowledge_base:
        table = knowledge_base.store._tables.get("chunks")
        rows = sorted(table.to_arrow().to_pylist(), key=lambda row: row["chunk_id"])  # type: ignore[union-attr]
        documents = {document.doc_id: path for path, document in knowledge_base.store.documents().items()}
    chunks = {row["chunk_id"]: (row["text"], row["page"], documents[row["doc_id"]]) for row in rows}
    assert len(chunks) == len(rows)
    return chunks, np.array([row["vector"] for row in rows], np.float32)


@pytest.fixture(scope="module")
def undisturbed(papers: Path, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Content, np.ndarray]:
    config = write_config(tmp_path_factory.mktemp("undisturbed"), endpoint)
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.ingest(papers).count(Outcome.ADDED) == DOCUMENTS
    return contents(config)


def start_ingest(papers: Path, config: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kb", "ingest", str(papers), "--json", "--config", str(config), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def the_same(config: Path, undisturbed: tuple[Content, np.ndarray]) -> bool:
    chunks, vectors = contents(config)
    return chunks == undisturbed[0] and float(np.abs(vectors - undisturbed[1]).max()) < 1e-3


def children_of(pid: int) -> list[int]:
    try:
        listed = [Path(task, "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    return [int(child) for child in " ".join(listed).split()]


def is_worker(pid: int) -> bool:
    """Whether it reads PDFs; multiprocessing's resource tracker does not."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def begun(process: subprocess.Popen[str], config: Path) -> None:
    """Waits until an ingest has imported what it needs and asks the endpoint: moments before that are all alike."""
    cache = config.parent / "data" / ".cache"
    wait_until(lambda: cache.exists() or process.poll() is not None, 60, "the ingest did not begin")


@pytest.mark.parametrize("seed", range(MOMENTS))
def test_kill_9_of_the_ingest_costs_a_second_run_and_nothing_else(
    papers: Path, tmp_path: Path, endpoint: str, undisturbed: tuple[Content, np.ndarray], seed: int
) -> None:
    config = write_config(tmp_path, endpoint)
    process = start_ingest(papers, config)
    begun(process, config)
    time.sleep(random.Random(seed).uniform(0.0, RUN_SECONDS))
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    gone = lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers)  # noqa: E731
    wait_until(gone, 15, "a worker outlived its parent")
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.ingest(papers).exit_status == 0
    assert the_same(config, undisturbed)


@pytest.mark.parametrize("seed", range(MOMENTS))
def test_kill_9_of_a_worker_fails_at_most_its_document(
    papers: Path, tmp_path: Path, endpoint: str, undisturbed: tuple[Content, np.ndarray], seed: int
) -> None:
    config = write_config(tmp_path, endpoint)
    process = start_ingest(papers, config, "--set", "extraction.workers=2")
    wait_until(lambda: len(children_of(process.pid)) > 1 or process.poll() is not None, 60, "no worker started")
    moments = random.Random(seed)
    time.sleep(moments.uniform(0.0, RUN_SECONDS / 2))
    workers = [child for child in children_of(process.pid) if is_worker(child)]
    if workers:
        kill(moments.choice(workers))
    output, errors = process.communicate(timeout=120)
    report = json.loads(output)
    assert report["added"] + report["failed"] == DOCUMENTS, errors
    assert report["failed"] <= 1
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.ingest(papers, retry_failed=True).exit_status == 0
    assert the_same(config, undisturbed)


@pytest.mark.parametrize("seed", range(MOMENTS))
def test_kill_9_of_the_server_keeps_what_was_embedded_and_says_how_to_go_on(
    papers: Path, tmp_path: Path, endpoint: str, undisturbed: tuple[Content, np.ndarray], seed: int
) -> None:
    server = start_server(tmp_path)
    config = write_config(tmp_path, f"{server.url}/v1", batch_size=4, concurrency=1, retries=0)
    process = start_ingest(papers, config)
    begun(process, config)
    time.sleep(random.Random(seed).uniform(0.0, RUN_SECONDS))
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    output, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 1, 2), errors
    if process.returncode:
        assert "Connection error" in output + errors
    if process.returncode == 1:
        assert "run the same command again" in json.loads(output)["stopped"]
    with KnowledgeBase.open(config, embedder={"base_url": endpoint, "batch_size": 64}) as again:
        assert again.ingest(papers).exit_status == 0
    assert the_same(config, undisturbed)


def test_ctrl_c_stops_at_a_document_and_says_how_to_go_on(
    papers: Path, tmp_path: Path, endpoint: str, undisturbed: tuple[Content, np.ndarray]
) -> None:
    config = write_config(tmp_path, endpoint, batch_size=4, concurrency=1)
    process = start_ingest(papers, config)
    while not (tmp_path / "data" / "default").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert process.returncode in (1, 130)
    assert "again" in output + errors or "kept" in errors
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.ingest(papers).exit_status == 0
    assert the_same(config, undisturbed)


def test_two_ingests_at_once_end_as_one_after_the_other(
    papers: Path, tmp_path: Path, endpoint: str, undisturbed: tuple[Content, np.ndarray]
) -> None:
    config = write_config(tmp_path, endpoint)
    reports = []
    for process in [start_ingest(papers, config), start_ingest(papers, config)]:
        output, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        reports.append(json.loads(output))
    assert sorted(report["added"] for report in reports) == [0, DOCUMENTS]
    assert the_same(config, undisturbed)
