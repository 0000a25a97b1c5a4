"""A disk that is full and a folder that is read-only: one clear line, exit status 2, and a store that opens after."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.cli import main

# Root may write anywhere and read anything, unless these are taken away.
ORDINARY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    for number in range(40):
        pages = ["\n".join(f"Report {number}, page {page}, line {line}." for line in range(12)) for page in range(3)]
        make_pdf(folder / f"{number}.pdf", pages)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(*command: object) -> subprocess.CompletedProcess[str]:
    done = CliRunner().invoke(main, [*map(str, command)])
    return subprocess.CompletedProcess(command, done.exit_code, done.stdout, done.stderr)


def run_as_ordinary_user(*command: object) -> subprocess.CompletedProcess[str]:
    whole = [*ORDINARY, sys.executable, "-m", "kb", *map(str, command)]
    return subprocess.run(whole, capture_output=True, text=True, timeout=200, check=False)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("[pdf]")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_a_full_disk_is_said_and_the_store_opens_and_goes_on(papers: Path, small_disk: Path, endpoint: str) -> None:
    config = write_config(small_disk, endpoint, batch_size=8, concurrency=1)
    line = refused(run("ingest", papers, "--config", config))
    assert "Store error" in line
    assert "Free some space" in line
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.status()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = run("ingest", papers, "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["added"] + report["unchanged"] == 40
    assert run("search", "report 7 page 2", "--config", config).returncode == 0


def test_a_full_disk_keeps_what_was_committed_before(papers: Path, small_disk: Path, endpoint: str) -> None:
    config = write_config(small_disk, endpoint)
    assert run("ingest", papers / "0.pdf", "--config", config).returncode == 0
    with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)
    assert "Free some space" in refused(run("ingest", papers / "1.pdf", "--config", config))
    done = run("search", "report 0 page 2", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hits"][0]["document"].endswith("/0.pdf")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_read_only_store_is_said_and_can_be_searched(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    assert run("ingest", papers / "0.pdf", "--config", config).returncode == 0
    set_writable(tmp_path / "kb" / "data", False)
    try:
        line = refused(run_as_ordinary_user("ingest", papers / "1.pdf", "--config", config))
        assert "Store error" in line
        assert "Make the folder writable" in line
        assert run_as_ordinary_user("search", "report 0", "--config", config).returncode == 0
        assert run_as_ordinary_user("status", "--config", config).returncode == 0
    finally:
        set_writable(tmp_path / "kb" / "data", True)
    assert run("ingest", papers / "1.pdf", "--config", config).returncode == 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_folder_where_no_store_can_be_made(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    (tmp_path / "kb").chmod(0o555)
    try:
        line = refused(run_as_ordinary_user("ingest", papers / "1.pdf", "--config", config))
    finally:
        (tmp_path / "kb").chmod(0o755)
    assert "Make the folder writable" in line


def set_writable(folder: Path, writable: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o755 if path.is_dir() else 0o644) if writable else (0o555 if path.is_dir() else 0o444))
