"""The command line: what it prints, its exit status, and the wrong way round."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from making import make_pdf, write_config

from kb.bundled import bundled_server
from kb.cli import main
from kb.config import LoggingSettings
from kb.logs import configure_logging

MARGIN = "Operating margin fell to nine percent in 2022 because freight costs doubled."


def run(*arguments: str | Path) -> Result:
    """The command in this process; what a process of its own does is `test_it_runs_as_a_process_of_its_own`."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    make_pdf(tmp_path / "papers" / "annual.pdf", ["Cover", MARGIN], title="Annual Report", outline=[("Results", 2)])
    return tmp_path / "papers"


@pytest.fixture
def config(tmp_path: Path, endpoint: str) -> Path:
    return write_config(tmp_path / "kb", endpoint)


def stored(config: Path) -> list[str]:
    """Everything below the store's folder but its caches, with sizes."""
    folder = config.parent / "data"
    files = sorted(file for file in folder.rglob("*") if file.is_file() and ".cache" not in file.parts)
    return [f"{file}:{file.stat().st_size}" for file in files]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    configure_logging(LoggingSettings())


# --- the right way ---------------------------------------------------------------------------------------------------


def test_ingest_search_status_remove_in_a_row(config: Path, papers: Path) -> None:
    ingested = run("ingest", papers, "--config", config)
    assert ingested.exit_code == 0, ingested.stderr
    assert ingested.stdout.startswith("1 added, 0 unchanged")
    found = run("search", "why did the margin fall?", "-k", "1", "--config", config)
    assert "annual.pdf, page 2" in found.stdout
    assert MARGIN in found.stdout
    assert "1 (1 indexed)" in run("status", "--config", config).stdout
    assert "removed" in run("remove", "annual.pdf", "--config", config).stdout
    assert run("search", "margin", "--config", config).stdout == "No hits.\n"


def test_json_is_one_document_on_standard_output(config: Path, papers: Path) -> None:
    report = json.loads(run("ingest", papers, "--json", "--config", config).stdout)
    assert (report["added"], report["pages"], report["exit_status"]) == (1, 2, 0)
    answer = json.loads(run("search", "operating margin", "--json", "--config", config).stdout)
    assert answer["query"] == "operating margin"
    hit = answer["hits"][0]
    assert (hit["rank"], hit["page"], hit["page_label"], hit["section"]) == (1, 2, "2", "Results")
    assert hit["document"] == str(papers / "annual.pdf")
    assert hit["text"] == MARGIN
    assert {"score", "doc_id"} <= hit.keys()
    status = json.loads(run("status", "--json", "--config", config).stdout)
    assert (status["documents"], status["pages"], status["model"]) == (1, 2, "all-MiniLM-L6-v2")


def test_debug_logs_go_to_standard_error_and_hold_no_text(config: Path, papers: Path) -> None:
    done = run("ingest", papers, "--json", "--config", config, "--set", "logging.level=DEBUG")
    assert json.loads(done.stdout)["added"] == 1
    assert "/v1/embeddings" in done.stderr
    assert "freight" not in done.stderr


def test_some_documents_failed_is_exit_status_1_and_says_which(config: Path, papers: Path) -> None:
    (papers / "text.pdf").write_text("a text file renamed")
    done = run("ingest", papers, "--config", config)
    assert done.exit_code == 1
    assert "text.pdf: corrupt" in done.stderr
    assert "1 added" in done.stdout
    assert "1 failed" in done.stdout


def test_a_report_can_be_written_as_html(config: Path, papers: Path, tmp_path: Path) -> None:
    (papers / "<script>alert(1)<").mkdir()
    (papers / "<script>alert(1)<" / "x.pdf").write_text("no PDF")
    run("ingest", papers, "--config", config, "--report", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "<script>" not in page


# --- the wrong way round ---------------------------------------------------------------------------------------------


def refused(done: Result) -> str:
    """The one line that says why nothing could be done."""
    assert done.exit_code == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("[pdf] Failed to ")
    return line


def test_a_missing_path(config: Path) -> None:
    assert "no such file or folder" in refused(run("ingest", "/no/such/folder", "--config", config))
    assert stored(config) == []


def test_an_empty_folder(config: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no file matches" in refused(run("ingest", tmp_path / "empty", "--config", config))
    assert stored(config) == []


def test_no_configuration_file_where_one_was_named(papers: Path) -> None:
    assert "no such file" in refused(run("ingest", papers, "--config", "/no/such.json"))


def test_searching_before_anything_was_ingested(config: Path) -> None:
    assert "Run kb ingest FOLDER first." in refused(run("search", "anything", "--config", config))
    assert stored(config) == []


def test_an_empty_query(config: Path, papers: Path) -> None:
    run("ingest", papers, "--config", config)
    assert "the query is empty" in refused(run("search", "  ", "--config", config))


def test_removing_what_is_not_there(config: Path, papers: Path) -> None:
    run("ingest", papers, "--config", config)
    assert "no such document" in refused(run("remove", "absent.pdf", "--config", config))


def test_errors_are_json_too_where_json_was_asked_for(config: Path) -> None:
    done = run("ingest", "/no/such/folder", "--json", "--config", config)
    assert done.exit_code == 2
    assert json.loads(done.stdout)["family"] == "Path error"


def test_no_endpoint_listening(tmp_path: Path, papers: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = write_config(tmp_path / "kb", f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        line = refused(run("ingest", papers, "--config", config))
    assert line.startswith("[pdf] Failed to setup PDF knowledge base: Connection error: ")
    assert "base_url" in line
    assert stored(config) == []


@pytest.fixture(scope="module")
def locked_endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PDFKB_SERVER_API_KEY", "right-key")
        with bundled_server() as url:
            yield url


@pytest.mark.parametrize("key", [None, "wrong-key-1234"])
def test_a_wrong_key(tmp_path: Path, papers: Path, locked_endpoint: str, key: str | None) -> None:
    config = write_config(tmp_path / "kb", locked_endpoint, **({"api_key": key} if key else {}))
    line = refused(run("ingest", papers, "--config", config))
    assert line.startswith("[pdf] Failed to setup PDF knowledge base: Authentication error: ")
    assert "api_key" in line
    assert "wrong-key-1234" not in line
    assert stored(config) == []


def test_the_right_key_by_header_wins_over_a_wrong_one(tmp_path: Path, papers: Path, locked_endpoint: str) -> None:
    headers = {"authorization": "Bearer right-key"}
    config = write_config(tmp_path / "kb", locked_endpoint, api_key="wrong-key-1234", headers=headers)
    assert run("ingest", papers, "--config", config).exit_code == 0


def test_a_wrong_model(tmp_path: Path, papers: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint, model="all-minilm-l6")
    line = refused(run("ingest", papers, "--config", config))
    assert line.startswith("[pdf] Failed to setup PDF knowledge base: Model error: ")
    assert "all-MiniLM-L6-v2" in line
    assert stored(config) == []


class _Slow(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        time.sleep(10)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


def test_an_endpoint_slower_than_the_timeout(tmp_path: Path, papers: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        config = write_config(tmp_path / "kb", f"http://127.0.0.1:{server.server_port}/v1", timeout=1, retries=0)
        line = refused(run("ingest", papers, "--config", config))
    finally:
        server.shutdown()
        server.server_close()
    assert line.startswith("[pdf] Failed to setup PDF knowledge base: Timeout error: ")
    assert "timeout" in line
    assert stored(config) == []


def test_an_endpoint_that_fails_later_leaves_the_store_as_it_was(config: Path, papers: Path, tmp_path: Path) -> None:
    run("ingest", papers, "--config", config)
    before = stored(config)
    make_pdf(papers / "new.pdf", ["Something new."])
    dead = ("--set", "embedder.base_url=http://127.0.0.1:9/v1", "--set", "embedder.model=other")
    refused(run("ingest", papers, "--config", config, *dead))
    assert stored(config) == before


# --- starting quickly ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["import kb", "import kb.cli", "from kb.cli import main"])
def test_starting_imports_nothing_heavy(statement: str) -> None:
    check = "heavy = {'litellm', 'torch', 'lancedb', 'pandas', 'numpy', 'pydantic', 'rich'} & set(sys.modules)"
    code = f"import sys; {statement}; {check}; sys.exit(str(heavy) if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_runs_as_a_process_of_its_own(config: Path, papers: Path) -> None:
    command = [sys.executable, "-m", "kb", "ingest", str(papers), "/no/such/folder", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("[pdf] Failed to ingest: Path error: /no/such/folder: no such file or folder.")


def test_the_ledger_says_when_what_and_how_long(config: Path, papers: Path) -> None:
    run("ingest", papers, "--config", config)
    (papers / "text.pdf").write_text("no PDF")
    run("ingest", papers, "--config", config)
    assert run("status", "--runs", "--config", config).stdout.count(" UTC  exit ") == 2
    latest, first = json.loads(run("status", "--runs", "--json", "--config", config).stdout)["runs"]
    assert (first["added"], first["exit_status"]) == (1, 0)
    assert (latest["failed"], latest["exit_status"]) == (1, 1)
    assert latest["started_at"] > first["started_at"]
    assert {"extract", "embed", "store"} <= first["stage_seconds"].keys()
    assert latest["files"][0]["path"].endswith("text.pdf")
