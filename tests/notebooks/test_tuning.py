"""The tuning notebook as a scheduler runs it: pictures, data, and the winners written only when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making import make_pdf, write_config
from running import data_of, outputs_of, papermill, parameters

from kb import KnowledgeBase
from kb.errors import QueryError
from kb.live_tuning import numbers, questions_for

SMALL = {"batch_sizes": "1, 16", "concurrencies": "1", "seconds": 0.3, "chunk_sizes": "64, 200", "overlaps": "0"}


@pytest.fixture
def config(tmp_path: Path, endpoint: str) -> Path:
    topics = ["glaciers that melt in summer", "violins and their varnish", "bread made of dark rye"]
    for number, topic in enumerate(topics):
        text = f"All about {topic}" + f"\nMore is said of {topic}." * 12
        make_pdf(tmp_path / "pdfs" / f"book{number}.pdf", ["Preface", text], outline=[(f"All about {topic}", 2)])
    config = write_config(tmp_path, endpoint, api_key="sekret-key-1")
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(tmp_path / "pdfs")
    return config


def test_it_measures_evaluates_tries_and_tells(config: Path, tmp_path: Path) -> None:
    before = config.read_text("utf-8")
    output = tmp_path / "tuned.ipynb"
    done = papermill("tuning", output, *parameters(config=config, **SMALL))
    assert done.returncode == 0, done.stderr
    endpoint = data_of(output)
    assert [trial["batch_size"] for trial in endpoint["trials"]] == [1, 16]
    told = [data["application/json"] for data in outputs_of(output) if "application/json" in data]
    assert told[1]["modes"]["hybrid"]["page"]["recall@5"] == 1.0
    assert len(told[2]["trials"]) > 5
    pictures = [data for data in outputs_of(output) if "data:image/png;base64," in data.get("text/html", "")]
    assert len(pictures) == 2
    assert config.read_text("utf-8") == before
    assert "sekret-key-1" not in output.read_text("utf-8").replace(before, "")


def test_the_winners_are_written_where_that_was_asked_for(config: Path, tmp_path: Path) -> None:
    done = papermill("tuning", tmp_path / "tuned.ipynb", *parameters(config=config, **SMALL, write=True))
    assert done.returncode == 0, done.stderr
    written = json.loads(config.read_text("utf-8"))["pdf_knowledge"]["embedder"]
    assert (written["batch_size"], written["concurrency"]) == (16, 1)


def test_hits_marked_wrong_alone_are_no_questions(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with KnowledgeBase.open(config) as knowledge_base:
        [hit] = knowledge_base.search("bread", k=1)
        knowledge_base.judgements().mark("glaciers", hit, "wrong")
        made = questions_for(knowledge_base, "", count=2)
        assert "bread" not in [question.query for question in made]
        assert f"No hit is marked right yet: {len(made)} questions are made" in capsys.readouterr().out
        knowledge_base.judgements().mark("bread", hit, "relevant")
        assert [question.query for question in questions_for(knowledge_base, "", count=2)] == ["bread"]


@pytest.mark.parametrize("text", ["", "a", "1, x", "-3", "1.5"])
def test_what_is_no_list_of_numbers_names_its_parameter(text: str) -> None:
    with pytest.raises(QueryError, match="batch_sizes"):
        numbers(text, "batch_sizes")
