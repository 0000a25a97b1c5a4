"""Ingest: incremental, exact, and honest about every file; real PDFs, the real server, a real store."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from making import make_pdf, write_config
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from kb import KnowledgeBase
from kb.errors import EndpointModelError
from kb.extract import page_picture
from kb.report import IngestReport, Outcome
from kb.types import DocumentStatus, Progress

MARGIN = "Operating margin fell to nine percent in 2022 because freight costs doubled."
SAFETY = "All visitors must wear helmets and safety shoes inside the assembly hall."
TRAVEL = "Employees book their travel through the intranet at least two weeks ahead."


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    make_pdf(folder / "annual.pdf", [MARGIN, SAFETY], title="Annual Report", outline=[("Results", 1), ("Safety", 2)])
    make_pdf(folder / "travel.pdf", [TRAVEL], title="Travel Policy")
    return folder


@pytest.fixture
def knowledge_base(tmp_path: Path, endpoint: str) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(write_config(tmp_path / "kb", endpoint)) as opened:
        yield opened


def outcomes(report: IngestReport) -> dict[str, str]:
    return {Path(file.path).name: str(file.outcome) for file in report.files}


def contents(knowledge_base: KnowledgeBase) -> set[tuple[str, str, int]]:
    """What the store holds: chunk id, text, page."""
    rows = knowledge_base.store._tables.get("chunks").to_arrow().to_pylist()  # type: ignore[union-attr]
    assert len(rows) == len({row["chunk_id"] for row in rows})
    return {(row["chunk_id"], row["text"], row["page"]) for row in rows}


def test_a_folder_becomes_cited_answers(knowledge_base: KnowledgeBase, papers: Path) -> None:
    report = knowledge_base.ingest(papers)
    assert outcomes(report) == {"annual.pdf": "added", "travel.pdf": "added"}
    assert (report.pages, report.exit_status) == (3, 0)
    assert set(report.stage_seconds) >= {"extract", "chunk", "embed", "store", "index"}
    hit = knowledge_base.search("why did profitability go down?")[0]
    assert (Path(hit.document).name, hit.page, hit.text) == ("annual.pdf", 1, MARGIN)
    assert (hit.title, hit.section) == ("Annual Report", "Results")


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_every_mode_finds_what_is_plainly_there(knowledge_base: KnowledgeBase, papers: Path, mode: str) -> None:
    knowledge_base.ingest(papers)
    assert knowledge_base.search("helmets and safety shoes", mode=mode, k=1)[0].page == 2


def test_an_unchanged_folder_costs_nothing(knowledge_base: KnowledgeBase, papers: Path, tmp_path: Path) -> None:
    knowledge_base.ingest(papers)
    before = contents(knowledge_base)
    (tmp_path / "kb" / "config.json").write_text("{}")  # the settings were read once
    report = knowledge_base.ingest(papers)
    assert outcomes(report) == {"annual.pdf": "unchanged", "travel.pdf": "unchanged"}
    assert report.stage_seconds.get("embed", 0) == 0
    assert contents(knowledge_base) == before


def test_a_changed_file_is_replaced_whole(knowledge_base: KnowledgeBase, papers: Path) -> None:
    knowledge_base.ingest(papers)
    make_pdf(papers / "travel.pdf", ["Travel is booked by the office manager only."])
    report = knowledge_base.ingest(papers)
    assert outcomes(report) == {"annual.pdf": "unchanged", "travel.pdf": "changed"}
    texts = {text for _, text, _ in contents(knowledge_base)}
    assert "Travel is booked by the office manager only." in texts
    assert TRAVEL not in texts


def test_a_touched_file_is_not_read_again(knowledge_base: KnowledgeBase, papers: Path) -> None:
    knowledge_base.ingest(papers)
    (papers / "travel.pdf").touch()
    report = knowledge_base.ingest(papers)
    assert outcomes(report)["travel.pdf"] == "unchanged"
    assert "extract" not in report.stage_seconds


def test_a_vanished_file_stays_until_prune(knowledge_base: KnowledgeBase, papers: Path) -> None:
    knowledge_base.ingest(papers)
    (papers / "travel.pdf").unlink()
    assert outcomes(knowledge_base.ingest(papers)) == {"annual.pdf": "unchanged"}
    assert knowledge_base.search("travel booking", k=1)[0].text == TRAVEL
    assert outcomes(knowledge_base.ingest(papers, prune=True))["travel.pdf"] == "removed"
    assert TRAVEL not in {text for _, text, _ in contents(knowledge_base)}


def test_prune_leaves_other_folders_alone(knowledge_base: KnowledgeBase, papers: Path, tmp_path: Path) -> None:
    other = make_pdf(tmp_path / "other" / "far.pdf", ["Something far away."])
    knowledge_base.ingest(papers, other)
    other.unlink()
    knowledge_base.ingest(papers, prune=True)
    assert str(other) in knowledge_base.store.documents()


def test_the_same_content_under_two_names_is_embedded_once_and_cited_under_both(
    knowledge_base: KnowledgeBase, papers: Path
) -> None:
    shutil.copy(papers / "travel.pdf", papers / "zz copy.pdf")
    report = knowledge_base.ingest(papers)
    assert outcomes(report) == {"annual.pdf": "added", "travel.pdf": "added", "zz copy.pdf": "added"}
    assert sum(text == TRAVEL for _, text, _ in contents(knowledge_base)) == 1
    hit = knowledge_base.search("travel booking", k=1)[0]
    assert [Path(path).name for path in (hit.document, *hit.also_in)] == ["travel.pdf", "zz copy.pdf"]
    assert knowledge_base.search("travel", documents="zz copy.pdf", k=1)[0].document.endswith("zz copy.pdf")


def test_a_moved_file_keeps_its_vectors(knowledge_base: KnowledgeBase, papers: Path) -> None:
    knowledge_base.ingest(papers)
    (papers / "travel.pdf").rename(papers / "moved.pdf")
    report = knowledge_base.ingest(papers, prune=True)
    assert outcomes(report) == {"annual.pdf": "unchanged", "moved.pdf": "added", "travel.pdf": "removed"}
    assert "embed" not in report.stage_seconds
    assert knowledge_base.search("travel booking", k=1)[0].document.endswith("moved.pdf")


def test_other_chunking_settings_make_the_documents_anew(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    with KnowledgeBase.open(config) as first:
        first.ingest(papers)
        before = contents(first)
    with KnowledgeBase.open(config, chunking={"max_tokens": 16}) as second:
        assert set(outcomes(second.ingest(papers)).values()) == {"changed"}
        assert not contents(second) & before


# --- bad files -------------------------------------------------------------------------------------------------------


def test_bad_files_are_reported_as_what_they_are_and_stop_nothing(knowledge_base: KnowledgeBase, papers: Path) -> None:
    (papers / "text.pdf").write_text("this is no PDF")
    (papers / "zero.pdf").write_bytes(b"")
    (papers / "cut.pdf").write_bytes((papers / "annual.pdf").read_bytes()[:200])
    make_pdf(papers / "locked.pdf", ["secret"], password="user", owner_password="owner")
    make_pdf(papers / "owner.pdf", ["Owner-encrypted files open by themselves."], owner_password="owner")
    make_pdf(papers / "blank.pdf", [""])
    report = knowledge_base.ingest(papers)
    status = {Path(file.path).name: file.status for file in report.files if file.outcome is Outcome.FAILED}
    assert status.pop("zero.pdf") in (DocumentStatus.EMPTY, DocumentStatus.CORRUPT)
    assert status == {
        "text.pdf": DocumentStatus.CORRUPT,
        "cut.pdf": DocumentStatus.CORRUPT,
        "locked.pdf": DocumentStatus.ENCRYPTED,
        "blank.pdf": DocumentStatus.NO_TEXT,
    }
    assert all(file.reason for file in report.files if file.outcome is Outcome.FAILED)
    assert report.exit_status == 1
    assert knowledge_base.search("owner-encrypted", k=1)[0].document.endswith("owner.pdf")


def test_a_page_that_is_a_picture_is_named_and_seen_in_the_exit_status(
    knowledge_base: KnowledgeBase, papers: Path, tmp_path: Path
) -> None:
    scanned = tmp_path / "scanned" / "half.pdf"
    scanned.parent.mkdir()
    canvas = Canvas(str(scanned))
    canvas.drawString(72, 700, SAFETY)
    canvas.showPage()
    canvas.drawImage(ImageReader(BytesIO(page_picture(papers / "annual.pdf", 1))), 0, 0, 595, 842)
    canvas.save()
    for outcome in (Outcome.ADDED, Outcome.UNCHANGED):  # what cannot be found stays so
        report = knowledge_base.ingest(scanned)
        assert (report.count(outcome), report.exit_status) == (1, 1)
        [file] = report.to_dict()["files"]
        assert (Path(file["path"]).name, file["pages_without_text"]) == ("half.pdf", (2,))
    assert knowledge_base.search("helmets", k=1)[0].page == 1


def test_a_failed_file_is_not_tried_again_but_still_reported(knowledge_base: KnowledgeBase, papers: Path) -> None:
    (papers / "text.pdf").write_text("this is no PDF")
    knowledge_base.ingest(papers)
    report = knowledge_base.ingest(papers)
    assert outcomes(report)["text.pdf"] == "failed"
    assert "extract" not in report.stage_seconds
    assert report.exit_status == 1
    assert "extract" in knowledge_base.ingest(papers, retry_failed=True).stage_seconds


def test_a_password_in_the_configuration_opens_the_file_next_time(tmp_path: Path, endpoint: str) -> None:
    papers = tmp_path / "papers"
    make_pdf(papers / "locked.pdf", [MARGIN], password="sesame", owner_password="owner")
    config = write_config(tmp_path / "kb", endpoint)
    with KnowledgeBase.open(config) as without:
        assert outcomes(without.ingest(papers)) == {"locked.pdf": "failed"}
    with KnowledgeBase.open(config, extraction={"passwords": ["wrong", "sesame"]}) as with_password:
        assert with_password.ingest(papers).exit_status == 0
        assert with_password.search("operating margin", k=1)[0].text == MARGIN


def test_a_file_that_vanishes_while_listed_is_reported(knowledge_base: KnowledgeBase, papers: Path) -> None:
    (papers / "gone.pdf").symlink_to(papers / "nowhere.pdf")
    report = knowledge_base.ingest(papers)
    [failed] = report.incomplete
    assert (Path(failed.path).name, failed.status) == ("gone.pdf", DocumentStatus.UNREADABLE)


# --- the embedding space, progress, filters --------------------------------------------------------------------------


def pretend_it_was_another_model(knowledge_base: KnowledgeBase) -> None:
    """Turns every stored vector and the stored space by one place: what another model of that size would be."""
    space = knowledge_base.embedder.space
    turned = type(space)("another-model", space.dimension, np.roll(space.canaries, 1, axis=1))
    rows = knowledge_base.store._tables.get("chunks").to_arrow()  # type: ignore[union-attr]
    vectors = np.roll(np.array(rows["vector"].to_pylist(), np.float32), 1, axis=1)
    [batch] = rows.drop(["vector"]).combine_chunks().to_batches()
    knowledge_base.store.replace_vectors([(batch, vectors)], dimension=space.dimension, space=turned.to_json())


def test_vectors_of_another_model_are_refused_before_anything_is_written(
    knowledge_base: KnowledgeBase, papers: Path
) -> None:
    knowledge_base.ingest(papers)
    pretend_it_was_another_model(knowledge_base)
    make_pdf(papers / "new.pdf", ["Something new."])
    with pytest.raises(EndpointModelError, match=r"another-model.*kb migrate"):
        knowledge_base.ingest(papers)
    assert str(papers / "new.pdf") not in knowledge_base.store.documents()


def test_migrate_embeds_everything_anew_with_the_model_of_today(knowledge_base: KnowledgeBase, papers: Path) -> None:
    knowledge_base.ingest(papers)
    before = contents(knowledge_base)
    pretend_it_was_another_model(knowledge_base)
    with pytest.raises(EndpointModelError):
        knowledge_base.search("travel booking", mode="vector")
    assert knowledge_base.migrate() == len(before)
    assert contents(knowledge_base) == before
    assert knowledge_base.search("travel booking", mode="vector", k=1)[0].text == TRAVEL
    assert set(outcomes(knowledge_base.ingest(papers)).values()) == {"unchanged"}


def test_a_migration_that_fails_leaves_the_vectors_as_they_were(
    knowledge_base: KnowledgeBase, papers: Path, tmp_path: Path
) -> None:
    knowledge_base.ingest(papers)
    found = [hit.chunk_id for hit in knowledge_base.search("travel", mode="vector")]
    dead = {"base_url": "http://127.0.0.1:9/v1", "retries": 0}
    with KnowledgeBase.open(tmp_path / "kb" / "config.json", embedder=dead) as other, pytest.raises(ConnectionError):
        other.migrate()
    assert [hit.chunk_id for hit in knowledge_base.search("travel", mode="vector")] == found


def test_the_cache_spares_the_endpoint_and_the_report_says_so(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    with KnowledgeBase.open(config) as first:
        assert first.ingest(papers).embedding["texts_sent"] >= 3
    with KnowledgeBase.open(config, storage={"collection": "second"}) as second:
        report = second.ingest(papers)
    assert (report.embedding["cache_hits"], report.embedding["cache_misses"]) == (3, 0)
    assert "(3 from the cache)" in report.summary


def test_progress_is_drawn_in_the_calling_thread(knowledge_base: KnowledgeBase, papers: Path) -> None:
    drawn: list[tuple[int, Progress]] = []
    knowledge_base.ingest(papers, draw=lambda step: drawn.append((threading.get_ident(), step)))
    assert {thread for thread, _ in drawn} == {threading.get_ident()}
    assert drawn[-1][1].done == drawn[-1][1].total == 2


def test_progress_tells_rate_and_remaining_time(knowledge_base: KnowledgeBase, papers: Path) -> None:
    drawn: list[Progress] = []
    knowledge_base.ingest(papers, draw=drawn.append)
    last = [step for step in drawn if step.stage == "ingest"][-1]
    assert last.rate > 0
    assert last.unit == "pages"
    assert "pages a second" in last.pace
    assert Progress(1, 2, "ingest", rate=3.5, unit="pages", seconds_left=130).pace == (
        "3.5 pages a second, about 2 min left"
    )


def test_many_copies_cost_one_commit(knowledge_base: KnowledgeBase, papers: Path) -> None:
    knowledge_base.ingest(papers)
    before = knowledge_base.store._tables.get("documents").version  # type: ignore[union-attr]
    for number in range(30):
        shutil.copy(papers / "travel.pdf", papers / f"copy {number}.pdf")
    report = knowledge_base.ingest(papers)
    assert (report.count(Outcome.ADDED), report.exit_status) == (30, 0)
    assert "embed" not in report.stage_seconds
    assert knowledge_base.store._tables.get("documents").version - before <= 4  # type: ignore[union-attr]


def test_the_end_of_an_ingest_leaves_fresh_indexes_few_fragments_and_no_old_versions(
    knowledge_base: KnowledgeBase, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kb.store.indexes.KEEP_VERSIONS", timedelta(milliseconds=1))
    for number in range(4):
        make_pdf(papers / f"more {number}.pdf", [f"Turbine {number} was overhauled."])
        knowledge_base.ingest(papers)
    for name in ("documents", "pages", "chunks"):
        table = knowledge_base.store._tables.get(name)
        assert table is not None
        for index in table.list_indices():
            assert table.index_stats(index.name).num_unindexed_rows == 0
        assert table.stats()["fragment_stats"]["num_fragments"] <= 2  # the newest is joined once it is indexed
        assert len(table.list_versions()) <= 2


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"documents": "travel.pdf"}, {TRAVEL}),
        ({"documents": "ann*"}, {MARGIN, SAFETY}),
        ({"pages": "2"}, {SAFETY}),
        ({"title": "policy"}, {TRAVEL}),
        ({"after": "1999"}, {MARGIN, SAFETY, TRAVEL}),
        ({"before": "1999"}, set()),
    ],
)
def test_filters_narrow_hybrid_search(
    knowledge_base: KnowledgeBase, papers: Path, filters: dict[str, str], expected: set[str]
) -> None:
    knowledge_base.ingest(papers)
    assert {hit.text for hit in knowledge_base.search("travel margin safety", **filters)} == expected


def test_remove_forgets_a_document_and_says_which(knowledge_base: KnowledgeBase, papers: Path) -> None:
    knowledge_base.ingest(papers)
    assert knowledge_base.remove("travel.pdf") == [str(papers / "travel.pdf")]
    assert {Path(hit.document).name for hit in knowledge_base.search("travel")} == {"annual.pdf"}
    assert (papers / "travel.pdf").exists()


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server of the Debian package redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not listens(port) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)


def test_a_second_machine_with_the_same_redis_sends_nothing(
    papers: Path, tmp_path: Path, endpoint: str, redis_url: str
) -> None:
    for machine, sent in (("first", True), ("second", False)):
        config = write_config(tmp_path / machine, endpoint)
        command = [sys.executable, "-m", "kb", "ingest", str(papers), "--json", "--config", str(config)]
        done = subprocess.run(
            [*command, "--set", f"cache.url={redis_url}"], capture_output=True, text=True, timeout=120, check=True
        )
        embedding = json.loads(done.stdout)["embedding"]
        assert (embedding["cache_misses"] == 3) is sent
        assert (embedding["cache_hits"] == 3) is not sent
