"""Nothing is lost: kill -9 of any process at many moments, Ctrl-C, a dying endpoint, two ingests at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.bundled import bundled_server
from kb.report import Outcome

DOCUMENTS = 12
Content = dict[str, tuple[str, int, str]]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    for number in range(DOCUMENTS):
        pages = [
            "\n".join(f"Report {number}, page {page}, line {line}: value {number * page * line}." for line in range(30))
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
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_of_the_ingest_costs_a_second_run_and_nothing_else(
    papers: Path, tmp_path: Path, endpoint: str, undisturbed: tuple[Content, np.ndarray], seed: int
) -> None:
    config = write_config(tmp_path, endpoint)
    moments = random.Random(seed)
    for _ in range(2):
        process = start_ingest(papers, config)
        time.sleep(moments.uniform(1.0, 4.0))
        workers = children_of(process.pid)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 15
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.1)
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.ingest(papers).exit_status == 0
    assert the_same(config, undisturbed)


def test_kill_9_of_a_worker_fails_at_most_its_document(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path, endpoint)
    process = start_ingest(papers, config, "--set", "extraction.workers=2")
    deadline = time.monotonic() + 30
    killed = 0
    while process.poll() is None and not killed and time.monotonic() < deadline:
        for child in children_of(process.pid):
            if (
                b"kb" in Path(f"/proc/{child}/cmdline").read_bytes()
                or b"spawn" in Path(f"/proc/{child}/cmdline").read_bytes()
            ):
                os.kill(child, signal.SIGKILL)
                killed += 1
                break
        time.sleep(0.02)
    output, _ = process.communicate(timeout=120)
    report = json.loads(output)
    assert report["added"] + report["failed"] == DOCUMENTS
    assert report["failed"] <= 2
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.ingest(papers, retry_failed=True).exit_status == 0


def test_the_server_dying_keeps_what_was_embedded_and_says_how_to_go_on(
    papers: Path, tmp_path: Path, endpoint: str, undisturbed: tuple[Content, np.ndarray]
) -> None:
    with bundled_server() as url:
        config = write_config(tmp_path, url, batch_size=4, concurrency=1, retries=0)
        process = start_ingest(papers, config)
        with KnowledgeBase.open(config) as knowledge_base:
            deadline = time.monotonic() + 60
            while not (tmp_path / "data" / ".cache").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert knowledge_base.settings.embedder.retries == 0
    output, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 1, 2), errors
    if process.returncode:
        assert "Connection error" in output + errors
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
