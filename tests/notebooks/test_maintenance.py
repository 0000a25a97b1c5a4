"""Maintenance: state, plots, drift, backup and restore by papermill; names from PDFs never become markup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from making import make_pdf, write_config
from running import data_of, outputs_of, papermill, parameters

from kb import KnowledgeBase
from kb.charts import draw_map
from kb.collection_map import CollectionMap, collection_map
from kb.drift import drift
from kb.embed import EmbeddingSpace


@pytest.fixture
def config(tmp_path: Path, endpoint: str) -> Path:
    return write_config(tmp_path / "kb", endpoint, api_key="sekret-key-5")


@pytest.fixture
def knowledge_base(config: Path, tmp_path: Path) -> Iterator[KnowledgeBase]:
    for topic in ("freight", "violins"):
        pages = [f"{topic} number {number}: all about {topic} and more {topic}." for number in range(8)]
        make_pdf(tmp_path / "papers" / f"{topic}<b>&.pdf", pages)
    (tmp_path / "papers" / "broken.pdf").write_text("no PDF")
    with KnowledgeBase.open(config) as opened:
        opened.ingest(tmp_path / "papers")
        yield opened


def test_the_notebook_reports_backs_up_and_restores(
    knowledge_base: KnowledgeBase, config: Path, tmp_path: Path
) -> None:
    output, backups = tmp_path / "out.ipynb", tmp_path / "backups"
    done = papermill("maintenance", output, *parameters(config=config, backup_to=backups, keep_backups=1))
    assert done.returncode == 0, done.stderr
    data = data_of(output)
    assert data["status"]["documents"] == 3
    assert data["runs"][0]["failed"] == 1
    assert min(data["drift"]["cosines"]) > 0.999
    assert data["space"]["chunks"] > 0
    [html] = [outputs["text/html"] for outputs in outputs_of(output) if "text/html" in outputs]
    assert html.index("broken.pdf") < html.index("Space on disk")  # failures first
    assert html.count("<svg") == 2
    assert "<b>&" not in html
    assert "sekret-key-5" not in output.read_text("utf-8")
    [file] = backups.iterdir()
    restored = papermill(
        "maintenance",
        output,
        *parameters(config=config, restore_from=file),
        PDF_KNOWLEDGE__STORAGE__COLLECTION="again",
    )
    assert restored.returncode == 0, restored.stderr
    assert data_of(output)["status"]["documents"] == 3


def test_an_endpoint_that_is_down_is_part_of_the_report(knowledge_base: KnowledgeBase, config: Path) -> None:
    embedder = {"base_url": "http://127.0.0.1:9/v1", "retries": 0}
    with KnowledgeBase.open(config, embedder=embedder) as blind:
        state = blind.maintenance()
    assert "Connection error" in state.problem
    assert state.problem in state.to_dict()["problem"]
    assert state.status.statistics.documents == 3


def test_a_changed_model_is_drift(knowledge_base: KnowledgeBase) -> None:
    space = knowledge_base.embedder.space
    assert "No drift" in drift(knowledge_base.store, space).verdict
    turned = EmbeddingSpace(space.model, space.dimension, np.roll(space.canaries, 1, axis=1))
    found = drift(knowledge_base.store, turned)
    assert max(found.cosines) < 0.9
    assert "kb migrate" in found.verdict


def test_an_empty_collection_has_a_page_too(tmp_path: Path, endpoint: str) -> None:
    with KnowledgeBase.open(write_config(tmp_path, endpoint)) as empty:
        state = empty.maintenance()
    html = state._repr_html_()
    assert "No ingest yet" in html
    assert "Too few passages" in html


def test_the_map_keeps_apart_what_is_about_something_else(knowledge_base: KnowledgeBase) -> None:
    chart = collection_map(knowledge_base.store)
    assert chart.points.shape == (16, 2)
    assert 0 < chart.share <= 1
    middles = np.array(list(chart.to_dict()["documents"].values()))
    spread = max(
        float(np.linalg.norm(chart.points[[p == path for p in chart.documents]] - middle, axis=1).mean())
        for path, middle in zip(sorted(set(chart.documents)), middles, strict=True)
    )
    assert float(np.linalg.norm(middles[0] - middles[1])) > 2 * spread


def test_a_plot_takes_any_file_name() -> None:
    names = ("_hidden.pdf", "a$b$.pdf", "<script>.pdf", "x" * 300 + ".pdf")
    svg = draw_map(CollectionMap(np.zeros((4, 2), np.float32), names, 1.0))
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg
    assert "hidden.pdf" in svg
