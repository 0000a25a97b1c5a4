"""Stopping between documents and going on, and what an ingest would do, told without doing it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from making import make_pdf, write_config

import kb.ingest
from kb import KnowledgeBase
from kb.extract import ExtractionPool
from kb.preview import Change
from kb.report import Outcome
from kb.types import DocumentStatus, ExtractedDocument, Progress


@pytest.fixture
def knowledge_base(tmp_path: Path, endpoint: str) -> Iterator[KnowledgeBase]:
    # One passage a window: with the usual size all these small documents would share the first one.
    with KnowledgeBase.open(write_config(tmp_path / "kb", endpoint, batch_size=1, concurrency=1)) as opened:
        yield opened


def test_stop_leaves_whole_documents_and_the_next_run_goes_on(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    for number in range(12):
        make_pdf(tmp_path / "papers" / f"{number:02}.pdf", [f"Report {number} about freight costs."] * 3)
    embedded: list[int] = []

    def draw(progress: Progress) -> None:
        embedded.append(progress.passages)

    report = knowledge_base.ingest(tmp_path / "papers", draw=draw, stop=lambda: bool(embedded and embedded[-1] >= 3))
    assert "Stopped as asked" in report.stopped
    assert report.exit_status == 1
    added = report.count(Outcome.ADDED)
    assert 0 < added < 12
    stored = knowledge_base.store.documents().values()
    assert sum(document.chunk_count for document in stored) == knowledge_base.store.statistics().chunks == 3 * added
    again = knowledge_base.ingest(tmp_path / "papers")
    assert (again.count(Outcome.ADDED), again.count(Outcome.UNCHANGED)) == (12 - added, added)
    assert not again.stopped


class _Patient(ExtractionPool):
    """The second file is not read before something is there to be seen."""

    seen: Callable[[], bool] = staticmethod(lambda: True)

    def submit(self, path: Path) -> Future[ExtractedDocument]:
        if path.name != "second.pdf":
            return super().submit(path)
        future: Future[ExtractedDocument] = Future()

        def read() -> None:
            until = time.monotonic() + 30
            while not self.seen() and time.monotonic() < until:
                time.sleep(0.05)
            seen = self.seen()
            document = super(_Patient, self).submit(path).result()
            future.set_result(document if seen else replace(document, status=DocumentStatus.OVER_LIMIT))

        threading.Thread(target=read).start()
        return future


def test_what_is_embedded_is_written_while_the_next_document_is_still_being_read(
    knowledge_base: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kb.ingest, "COMMIT_SECONDS", 0.2)
    first = make_pdf(tmp_path / "papers" / "first.pdf", ["Freight costs rose."])
    make_pdf(tmp_path / "papers" / "second.pdf", ["They fell again."])
    with _Patient(knowledge_base.settings.extraction) as extractor:
        extractor.seen = lambda: str(first) in knowledge_base.store.documents()
        report = kb.ingest.ingest(
            [tmp_path / "papers"],
            settings=knowledge_base.settings,
            endpoint=knowledge_base.embedder,
            extractor=extractor,
            store=knowledge_base.store,
        )
    assert report.count(Outcome.ADDED) == 2


def test_an_interrupt_does_not_wait_for_the_rest_of_a_long_document(tmp_path: Path, endpoint: str) -> None:
    make_pdf(tmp_path / "book.pdf", [f"Page {number} of the book is about freight costs." for number in range(80)])
    with KnowledgeBase.open(write_config(tmp_path / "kb", endpoint, batch_size=1, concurrency=1)) as knowledge_base:
        space = knowledge_base.embedder.space
        assert space.dimension == 384
        sent_before = knowledge_base.embedder.usage.texts_sent

        def interrupt(_: Progress) -> None:
            if knowledge_base.embedder.usage.texts_sent - sent_before >= 3:
                raise KeyboardInterrupt

        report = knowledge_base.ingest(tmp_path / "book.pdf", draw=interrupt)
        assert "Interrupted" in report.stopped
        assert knowledge_base.embedder.usage.texts_sent - sent_before < 40
        assert knowledge_base.store.statistics().chunks == 0
        assert knowledge_base.ingest(tmp_path / "book.pdf").count(Outcome.ADDED) == 1


def test_a_preview_tells_what_an_ingest_then_does(knowledge_base: KnowledgeBase, tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    for name in ("same", "edited", "gone", "moved"):
        make_pdf(papers / f"{name}.pdf", [f"The text of {name}."])
    (papers / "broken.pdf").write_text("no PDF")
    knowledge_base.ingest(papers)
    make_pdf(papers / "edited.pdf", ["Another text altogether."])
    make_pdf(papers / "new.pdf", ["A new text."])
    (papers / "gone.pdf").unlink()
    (papers / "moved.pdf").rename(papers / "here.pdf")
    before = knowledge_base.store.documents()
    preview = knowledge_base.preview(papers, prune=True, retry_failed=True)
    assert knowledge_base.store.documents() == before
    found = {path.rsplit("/", 1)[-1]: change for path, change in preview.files}
    assert found == {
        "same.pdf": Change.UNCHANGED,
        "edited.pdf": Change.CHANGED,
        "new.pdf": Change.NEW,
        "here.pdf": Change.COPY,
        "broken.pdf": Change.RETRY,
        "gone.pdf": Change.GONE,
        "moved.pdf": Change.GONE,
    }
    report = knowledge_base.ingest(papers, prune=True)
    assert report.count(Outcome.REMOVED) == 2
    assert knowledge_base.preview(papers).changes == ()
