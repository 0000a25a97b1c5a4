"""The notebooks as a scheduler runs them: parameters with help, data and a report, plain errors, no secrets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from making import make_pdf, write_config
from places import ROOT
from running import data_of, outputs_of, papermill, parameters

from kb import KnowledgeBase

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MARGIN = "Operating margin fell to nine percent in 2022 because freight costs doubled."


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    make_pdf(tmp_path / "papers" / "annual.pdf", ["Cover", MARGIN], title="<script>alert('title')</script>")
    return tmp_path / "papers"


def test_ingest_then_search_give_data_and_something_to_look_at(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint, api_key="sekret-key-1")
    ingested = tmp_path / "ingested.ipynb"
    done = papermill("ingest", ingested, *parameters(config=config, source=papers))
    assert done.returncode == 0, done.stderr
    assert data_of(ingested)["added"] == 1
    exports = {"csv": tmp_path / "hits.csv", "bibtex": tmp_path / "hits.bib"}
    found = tmp_path / "found.ipynb"
    questions = "why did the margin fall?\nfreight costs"
    done = papermill("search", found, *parameters(config=config, query=questions, limit=1, **exports))
    assert done.returncode == 0, done.stderr
    answers = data_of(found)["answers"]
    assert [answer["query"] for answer in answers] == questions.splitlines()
    assert [answer["hits"][0]["page"] for answer in answers] == [2, 2]
    assert exports["csv"].read_text("utf-8").count("annual.pdf, page 2") == 2
    assert "pages = {2}" in exports["bibtex"].read_text("utf-8")
    text = found.read_text("utf-8") + ingested.read_text("utf-8")
    assert "sekret-key-1" not in text
    [html] = [data["text/html"] for data in outputs_of(found) if "text/html" in data]
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_what_papermill_takes_for_a_number_is_text_all_the_same(papers: Path, tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(papers)
    found = tmp_path / "found.ipynb"
    done = papermill("search", found, *parameters(config=config, query=2022, pages=2))
    assert done.returncode == 0, done.stderr
    [answer] = data_of(found)["answers"]
    assert (answer["query"], answer["hits"][0]["page"]) == ("2022", 2)
    done = papermill("troubleshooting", tmp_path / "why.ipynb", *parameters(config=config, query=2022))
    assert done.returncode == 0, done.stderr


def test_a_run_that_fails_ends_with_the_plain_error_and_a_non_zero_exit(papers: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "kb", "http://127.0.0.1:9/v1", retries=0)
    output = tmp_path / "failed.ipynb"
    done = papermill("ingest", output, *parameters(config=config, source=papers))
    assert done.returncode != 0
    assert "[pdf] Failed to setup PDF knowledge base: Connection error" in done.stderr
    assert "[pdf] Failed to setup PDF knowledge base: Connection error" in output.read_text("utf-8")


def test_incomplete_documents_fail_the_run_only_where_that_was_asked_for(
    papers: Path, tmp_path: Path, endpoint: str
) -> None:
    (papers / "text.pdf").write_text("no PDF")
    config = write_config(tmp_path / "kb", endpoint)
    options = parameters(config=config, source=papers)
    assert papermill("ingest", tmp_path / "a.ipynb", *options).returncode == 0
    failed = papermill("ingest", tmp_path / "b.ipynb", *options, *parameters(fail_on_incomplete=True))
    assert failed.returncode != 0
    assert "1 of 2 files cannot be found whole" in failed.stderr
    cells = [cell for cell in nbformat.read(tmp_path / "b.ipynb", 4).cells if cell.get("outputs")]
    on_top = next(cell.outputs[0]["data"]["text/plain"] for cell in cells if "text/plain" in cell.outputs[0]["data"])
    assert on_top.startswith("[pdf] Failed to ingest everything: Documents incomplete")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_can_explain_every_parameter(notebook: Path) -> None:
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(notebook)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    [cell] = [cell for cell in nbformat.read(notebook, 4).cells if "parameters" in cell.metadata.get("tags", [])]
    for line in cell.source.splitlines():
        name, meaning = line.split(":")[0], line.split("  # ")[1]
        assert name in said
        assert " ".join(meaning.split()[:3]) in " ".join(said.split())


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_output_and_no_logic(notebook: Path) -> None:
    code = [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    lines = [line for cell in code for line in cell.source.splitlines()]
    assert len(lines) <= 60
    assert not any(line.lstrip().startswith(("def ", "class ")) for line in lines)


def test_report_and_data_are_two_outputs_for_jupyterlab_shows_the_data_alone_where_one_has_both(
    papers: Path, tmp_path: Path, endpoint: str
) -> None:
    config = write_config(tmp_path / "kb", endpoint)
    output = tmp_path / "ingested.ipynb"
    assert papermill("ingest", output, *parameters(config=config, source=papers)).returncode == 0
    kinds = [set(data) for data in outputs_of(output)]
    assert {"text/plain", "text/html"} in kinds
    assert {"application/json"} in kinds
    assert not [kind for kind in kinds if {"text/html", "application/json"} <= kind]
