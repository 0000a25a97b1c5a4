"""Files as they lie on a network share: unreadable, vanishing, special, oddly named. None is silently done."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.errors import SourceError
from kb.extract import ExtractionPool
from kb.ingest import ingest
from kb.report import IngestReport, Outcome
from kb.types import DocumentStatus, ExtractedDocument

# Root may read anything, unless these are taken away.
ORDINARY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
needs_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    make_pdf(tmp_path / "papers" / "good.pdf", ["All visitors must wear helmets."])
    return tmp_path / "papers"


@pytest.fixture
def knowledge_base(tmp_path: Path, endpoint: str) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(write_config(tmp_path / "kb", endpoint)) as opened:
        yield opened


def run(config: Path, *arguments: object) -> dict[str, Any]:
    """`kb ingest` as somebody who may not read everything."""
    command = [*ORDINARY, sys.executable, "-m", "kb", "ingest", *map(str, arguments), "--json", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def reading(knowledge_base: KnowledgeBase, papers: Path, extractor: ExtractionPool) -> IngestReport:
    settings, store = knowledge_base.settings, knowledge_base.store
    endpoint = knowledge_base.embedder
    return ingest([papers], settings=settings, endpoint=endpoint, extractor=extractor, store=store)


@needs_setpriv
def test_a_file_without_permission_has_a_row_that_says_so_until_it_can_be_read(
    papers: Path, tmp_path: Path, endpoint: str
) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    locked = make_pdf(papers / "locked.pdf", ["Secret."])
    locked.chmod(0)
    for _ in range(2):
        [failed] = [file for file in run(config, papers)["files"] if file["outcome"] == "failed"]
        assert (failed["path"], failed["status"]) == (str(locked), "unreadable")
        assert failed["reason"] == "Permission denied"
    with KnowledgeBase.open(config) as knowledge_base:
        row = knowledge_base.store.documents()[str(locked)]
        assert (row.status, row.reason) == (DocumentStatus.UNREADABLE, "Permission denied")
        locked.chmod(0o644)
        assert knowledge_base.ingest(papers).exit_status == 0
        assert knowledge_base.store.documents()[str(locked)].status is DocumentStatus.INDEXED


@needs_setpriv
def test_a_file_that_was_read_once_stays_found_when_it_is_locked(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(papers)
        make_pdf(papers / "good.pdf", ["Something else."]).chmod(0)
        assert run(config, papers)["failed"] == 1
        assert "helmets" in knowledge_base.search("helmets", k=1)[0].text


@needs_setpriv
def test_a_folder_that_cannot_be_listed_is_named_and_prune_keeps_what_it_hides(
    papers: Path, tmp_path: Path, endpoint: str
) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    hidden = make_pdf(papers / "closed" / "inside.pdf", ["Behind a door."])
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(papers)
        hidden.parent.chmod(0)
        try:
            report = run(config, papers, "--prune")
        finally:
            hidden.parent.chmod(0o755)
        [folder] = [file for file in report["files"] if file["outcome"] == "failed"]
        assert folder["path"] == str(hidden.parent)
        assert folder["reason"] == "the folder cannot be listed: Permission denied"
        assert report["removed"] == 0
        assert set(knowledge_base.store.documents()) == {str(hidden), str(papers / "good.pdf")}


class _Meanwhile(ExtractionPool):
    """Something happens to the files just before the first one is read."""

    happening: Any = None

    def submit(self, path: Path) -> Future[ExtractedDocument]:
        happening, self.happening = self.happening, None
        if happening:
            happening()
        return super().submit(path)


def test_a_file_that_vanishes_before_it_is_read_is_unreadable(knowledge_base: KnowledgeBase, papers: Path) -> None:
    other = make_pdf(papers / "vanishing.pdf", ["Here and gone."])
    with _Meanwhile(knowledge_base.settings.extraction) as extractor:
        extractor.happening = other.unlink
        report = reading(knowledge_base, papers, extractor)
    assert report.count(Outcome.ADDED) == 1
    [failed] = report.incomplete
    assert (failed.path, failed.status) == (str(other), DocumentStatus.UNREADABLE)
    assert knowledge_base.store.documents()[str(other)].status is DocumentStatus.UNREADABLE


def test_a_file_that_changes_while_it_is_read_and_its_copy_are_read_by_the_next_run(
    knowledge_base: KnowledgeBase, papers: Path
) -> None:
    changing = make_pdf(papers / "a.pdf", ["First words."])
    shutil.copy(changing, papers / "b.pdf")
    with _Meanwhile(knowledge_base.settings.extraction) as extractor:
        extractor.happening = lambda: make_pdf(changing, ["Second words, and more of them."])
        report = reading(knowledge_base, papers, extractor)
    assert {Path(file.path).name: str(file.outcome) for file in report.files} == {
        "a.pdf": "failed",
        "b.pdf": "failed",
        "good.pdf": "added",
    }
    assert all("next run reads it" in file.reason for file in report.incomplete)
    assert knowledge_base.ingest(papers).exit_status == 0
    texts = {knowledge_base.search(query, mode="text", k=1)[0].text for query in ("first", "second")}
    assert texts == {"First words.", "Second words, and more of them."}


def test_special_files_in_a_folder_are_never_opened_and_reported(knowledge_base: KnowledgeBase, papers: Path) -> None:
    os.mkfifo(papers / "pipe.pdf")
    (papers / "device.pdf").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(papers / "s.pdf"))
        report = knowledge_base.ingest(papers)
    assert {Path(file.path).name for file in report.incomplete} == {"pipe.pdf", "device.pdf", "s.pdf"}
    assert all("no regular file" in file.reason for file in report.incomplete)
    assert report.count(Outcome.ADDED) == 1


def test_a_special_file_that_is_named_is_refused(knowledge_base: KnowledgeBase) -> None:
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        knowledge_base.ingest("/dev/zero")


def test_a_link_to_itself_is_unreadable(knowledge_base: KnowledgeBase, papers: Path) -> None:
    (papers / "loop.pdf").symlink_to("loop.pdf")
    [failed] = knowledge_base.ingest(papers).incomplete
    assert (Path(failed.path).name, failed.status) == ("loop.pdf", DocumentStatus.UNREADABLE)
    assert "symbolic links" in failed.reason


def test_odd_names_are_ingested_found_and_unchanged_the_next_time(knowledge_base: KnowledgeBase, papers: Path) -> None:
    names = [b"with space.pdf", b"new\nline.pdf", b"caf\xe9.pdf", "日本.pdf".encode(), b"'quote\".pdf", b"%41 #?.pdf"]
    for number, name in enumerate(names):
        made = make_pdf(papers / "made", [f"Passage number {number} about turbines."])
        made.rename(papers / os.fsdecode(name))
    assert knowledge_base.ingest(papers).count(Outcome.ADDED) == len(names) + 1
    found = {hit.document for hit in knowledge_base.search("turbines", k=10)}
    assert {str(papers / "new\nline.pdf"), str(papers / r"caf\xe9.pdf")} <= found
    assert knowledge_base.ingest(papers).count(Outcome.UNCHANGED) == len(names) + 1
    assert knowledge_base.remove(papers / r"caf\xe9.pdf") == [str(papers / r"caf\xe9.pdf")]


def test_a_folder_that_holds_itself_by_a_link_is_read_once(tmp_path: Path, papers: Path, endpoint: str) -> None:
    (papers / "deeper").mkdir()
    (papers / "deeper" / "up").symlink_to(papers, target_is_directory=True)
    config = write_config(tmp_path / "kb", endpoint)
    with KnowledgeBase.open(config, ingest={"follow_symlinks": True}) as knowledge_base:
        report = knowledge_base.ingest(papers)
    assert [Path(file.path) for file in report.files] == [papers / "good.pdf"]
