"""Setup and troubleshooting: the checks, a file without a key, and why a page was missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import make_pdf, write_config
from running import data_of, outputs_of, papermill, parameters

from kb import KnowledgeBase
from kb.config import Settings
from kb.errors import ConfigurationError
from kb.explain import Explanation, slowest_stage
from kb.notebooks import open_knowledge_base, set_up
from kb.setup import KINDS, write_configuration

MARGIN = "Operating margin fell to nine percent in 2022 because freight costs doubled."


def test_setup_writes_a_configuration_without_the_key_and_answers_a_first_question(
    tmp_path: Path, endpoint: str
) -> None:
    pdf = make_pdf(tmp_path / "first.pdf", ["Cover", MARGIN])
    config = tmp_path / "config" / "pdf_knowledge.json"
    done = papermill(
        "setup",
        tmp_path / "out.ipynb",
        *parameters(config=config, kind="fastapi", base_url=endpoint, model="all-MiniLM-L6-v2"),
        *parameters(first_pdf=pdf, question="why did the margin fall?"),
        EMBEDDER_API_KEY="sekret-key-2",
    )
    assert done.returncode == 0, done.stderr
    data = data_of(tmp_path / "out.ipynb")
    assert data["healthy"]
    assert data["report"]["added"] == 1
    assert data["answer"]["hits"][0]["page"] == 2
    assert json.loads(config.read_text())["pdf_knowledge"]["embedder"]["api_key"] == "${EMBEDDER_API_KEY}"
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in written if b"sekret-key-2" in file.read_bytes()]


def test_setup_with_a_wrong_address_writes_nothing_and_fails_the_run(tmp_path: Path) -> None:
    config = tmp_path / "pdf_knowledge.json"
    done = papermill("setup", tmp_path / "out.ipynb", *parameters(config=config, base_url="http://127.0.0.1:9/v1"))
    assert done.returncode != 0
    assert "the check of connection failed: refused" in done.stderr
    assert not config.exists()
    assert not data_of(tmp_path / "out.ipynb")["healthy"]


def test_writing_keeps_all_other_settings_and_a_key_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('"pdf_knowledge": {"embedder": {"api_key": "${OTHER}", "retries": 7}, "storage": {"uri": "x"}}')
    write_configuration(file, base_url="http://gpu:1/v1", model="m", timeout=9)
    data = json.loads(file.read_text())["pdf_knowledge"]
    assert data["storage"] == {"uri": "x"}
    expected = {"type": "custom", "base_url": "http://gpu:1/v1", "model": "m", "timeout": 9}
    assert data["embedder"] == {"api_key": "${OTHER}", "retries": 7, **expected}
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="folder"):
        write_configuration(tmp_path / "folder", base_url="http://gpu:1/v1", model="m", timeout=9)


def test_every_kind_has_a_url_that_a_configuration_takes() -> None:
    for kind in KINDS.values():
        Settings(embedder={"base_url": kind.base_url, "model": kind.model})  # type: ignore[arg-type]


def test_an_unknown_kind_names_those_there_are() -> None:
    options = {"base_url": "", "model": "", "timeout": 1.0, "key_variable": "K", "first_pdf": "", "question": ""}
    with pytest.raises(ConfigurationError, match="bundled, vllm, tei, fastapi"):
        set_up("", kind="tgi", start=False, interactive=False, **options)  # type: ignore[arg-type]


def test_a_missing_key_is_an_error_where_nobody_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDDER_API_KEY", raising=False)
    config = write_config(tmp_path, "http://127.0.0.1:9/v1", api_key="${EMBEDDER_API_KEY}")
    with pytest.raises(ConfigurationError, match="EMBEDDER_API_KEY is not set"):
        open_knowledge_base(str(config))


# --- troubleshooting -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def knowledge_base(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("trouble")
    make_pdf(folder / "papers" / "annual.pdf", ["Cover", MARGIN, "", "<script>alert(1)</script> appendix"])
    make_pdf(folder / "papers" / "locked.pdf", [MARGIN], password="unknown")
    (folder / "papers" / "broken.pdf").write_text("no PDF")
    with KnowledgeBase.open(write_config(folder / "kb", endpoint)) as opened:
        opened.ingest(folder / "papers")
        yield opened


def said(explanation: Explanation) -> str:
    return "\n".join(f"{finding.status} {finding.what} {finding.fix}" for finding in explanation.findings)


def test_a_page_that_was_found_shows_its_rank_in_every_list(knowledge_base: KnowledgeBase) -> None:
    explanation = knowledge_base.explain("why did the operating margin fall?", document="annual.pdf", page=2)
    told = said(explanation)
    assert "Page 2 was extracted: 12 words" in told
    for channel in ("vector", "text", "page"):
        assert f"{channel}: rank 1" in told
        assert explanation.lists[channel][0].expected
    assert "In the end it is hit 1." in told
    assert "fall do not" in told.split("Of the question's words")[1]


@pytest.mark.parametrize(
    ("document", "page", "reason"),
    [
        ("anual.pdf", 0, "fail anual.pdf is not in the collection. Did you mean annual.pdf?"),
        ("locked.pdf", 1, "nothing of it was extracted: encrypted"),
        ("locked.pdf", 1, "extraction.passwords"),
        ("broken.pdf", 0, "nothing of it was extracted: corrupt"),
        ("annual.pdf", 9, "annual.pdf has only 4 pages"),
        ("annual.pdf", 3, "Page 3 is blank"),
    ],
)
def test_a_page_that_cannot_be_found_is_explained(
    knowledge_base: KnowledgeBase, document: str, page: int, reason: str
) -> None:
    assert reason in said(knowledge_base.explain("operating margin", document=document, page=page))


def test_a_question_without_a_word_in_common_is_told_so(knowledge_base: KnowledgeBase) -> None:
    told = said(knowledge_base.explain("zebra giraffe savannah", document="annual.pdf", page=2))
    assert "No passage shares a word" in told
    assert "vector: rank" in told
    assert "text: not among the first 0" in told


def test_documents_that_the_question_names_are_told(knowledge_base: KnowledgeBase) -> None:
    assert "names, which come forward: annual.pdf." in said(knowledge_base.explain("margin in the Annual report"))
    assert "come forward" not in said(knowledge_base.explain("why did the operating margin fall?"))


def test_what_is_wrong_with_a_collection_is_found(knowledge_base: KnowledgeBase) -> None:
    told = "\n".join(finding.what for finding in knowledge_base.findings())
    assert "2 documents gave no text" in told
    assert "3 documents" in told


def test_the_slowest_stage_of_an_ingest_is_named() -> None:
    finding = slowest_stage({"extract": 3.0, "embed": 90.0, "store": 1.0})
    assert finding.status == "warn"
    assert "the endpoint is the slowest" in finding.what


def test_an_empty_collection_is_told_so(tmp_path: Path) -> None:
    with KnowledgeBase.open(write_config(tmp_path, "http://127.0.0.1:9/v1")) as empty:
        [finding] = empty.findings()
    assert "nothing at" in finding.what


def test_troubleshooting_under_papermill(tmp_path: Path, endpoint: str) -> None:
    config = write_config(tmp_path / "kb", endpoint, api_key="sekret-key-3")
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(make_pdf(tmp_path / "a.pdf", ["<script>alert(1)</script> margin"]))
    output = tmp_path / "out.ipynb"
    done = papermill("troubleshooting", output, *parameters(config=config, query="margin", document="a.pdf", page=1))
    assert done.returncode == 0, done.stderr
    data = data_of(output)
    assert data["healthy"]
    assert data["explanation"]["lists"]["vector"][0]["document"] == "a.pdf"
    [html] = [outputs["text/html"] for outputs in outputs_of(output) if "text/html" in outputs]
    assert "<script>" not in html
    assert "Authentication error" in html
    assert "sekret-key-3" not in output.read_text("utf-8")


def test_troubleshooting_of_a_dead_endpoint_still_gives_its_report(tmp_path: Path) -> None:
    config = write_config(tmp_path / "kb", "http://127.0.0.1:9/v1")
    output = tmp_path / "out.ipynb"
    assert papermill("troubleshooting", output, *parameters(config=config, query="margin")).returncode == 0
    data = data_of(output)
    assert not data["healthy"]
    assert [check["status"] for check in data["checks"] if check["name"] == "connection"] == ["fail"]
