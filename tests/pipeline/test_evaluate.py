"""Evaluation and tuning on a real collection: the numbers are right, the collection stays as it is."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from making import make_pdf, write_config

from kb import KnowledgeBase
from kb.cli import main
from kb.config import EmbedderSettings
from kb.errors import EndpointModelError, QueryError
from kb.evaluate import Evaluation, Score, evaluate
from kb.questions import Place, Question, read_questions
from kb.tune import RetrievalTrial, RetrievalTuning, tune_retrieval
from kb.tune.endpoint import gpu_memory
from kb.types import Hit
from tests.embed.servers import Answer, HashServer, serve

TOPICS = ["glaciers melting in summer", "violins and their varnish", "tax law of small islands", "bread made of rye"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    for number, topic in enumerate(TOPICS):
        text = (
            f"Chapter about {topic}\nThis page tells all about {topic}, at length and with care."
            + f"\nMore is said of {topic}." * 20
        )
        make_pdf(folder / "pdfs" / f"book{number}.pdf", ["An empty preface.", text], outline=[(f"All of {topic}", 2)])
    config = write_config(folder, endpoint)
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(folder / "pdfs")
    return config


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    lines = [
        {"query": f"what about {topic}?", "relevant": [{"document": f"book{number}.pdf", "page": 2}]}
        for number, topic in enumerate(TOPICS)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    return file


def hit(document: str, page: int) -> Hit:
    return Hit(1, 1.0, f"/folder/{document}", "d", "c", page, page, "", "", "", "text")


def test_scores_are_those_of_the_textbook() -> None:
    questions = [
        Question("first", (Place("a.pdf", 1),)),
        Question("second", (Place("a.pdf", 1), Place("b.pdf", 2))),
        Question("third", (Place("c.pdf"),)),
    ]
    answers = {
        "first": [hit("a.pdf", 1)],
        "second": [hit("x.pdf", 1), hit("a.pdf", 9), hit("a.pdf", 9), hit("b.pdf", 2)],
        "third": [hit("x.pdf", 1), hit("c.pdf", 7)],
    }
    result = evaluate(questions, {"mode": answers.__getitem__}, documents=["/folder/a.pdf", "/folder/x.pdf"])
    [mode] = result.modes
    assert result.unknown == ("b.pdf", "c.pdf")
    assert mode.page["recall@5"].mean == pytest.approx((1 + 0.5) / 2)  # the third names no page
    assert mode.page["MRR@10"].mean == pytest.approx((1 + 1 / 3) / 2)  # the same page twice counts once
    assert mode.document["MRR@10"].mean == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert mode.page["nDCG@10"].low <= mode.page["nDCG@10"].mean <= mode.page["nDCG@10"].high
    assert [answered.rank for answered in mode.answered] == [1, 3, 2]


def test_every_mode_is_scored_at_both_levels(config: Path, questions: Path) -> None:
    done = CliRunner().invoke(main, ["evaluate", str(questions), "--config", str(config), "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["questions"] == 4
    assert told["modes"].keys() == {"hybrid", "vector", "text"}
    assert told["modes"]["hybrid"]["page"] == {"recall@5": 1.0, "recall@10": 1.0, "nDCG@10": 1.0, "MRR@10": 1.0}
    assert told["modes"]["hybrid"]["milliseconds"]["p50"] > 0


def test_details_tell_every_question(config: Path, questions: Path, tmp_path: Path) -> None:
    details = tmp_path / "details.json"
    options = ["--mode", "text", "--details", str(details), "--config", str(config)]
    done = CliRunner().invoke(main, ["evaluate", str(questions), *options])
    assert "nDCG@10 1.000" in done.output
    asked = json.loads(details.read_text("utf-8"))["modes"]["text"]["questions"]
    assert [one["rank"] for one in asked] == [1, 1, 1, 1]


def test_an_evaluation_shows_itself_with_everything_escaped() -> None:
    question = Question("<script>alert(1)</script>", (Place("<b>.pdf", 1),))
    shown = evaluate([question], {"hybrid": lambda _: []}, documents=[])._repr_html_()
    assert "<script>alert" not in shown
    assert "&lt;b&gt;.pdf" in shown
    assert isinstance(evaluate([question], {"m": lambda _: []}, documents=[]), Evaluation)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"query": "q"}', '{"query": 1, "relevant": []}',
     '{"query": "", "relevant": [{"document": "a"}]}', '{"query": "q", "relevant": [{"page": 1}]}',
     '{"query": "q", "relevant": [{"document": "a", "page": 0}]}'],
)  # fmt: skip
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"query": "q", "relevant": [{"document": "a.pdf"}]}\n' + line, "utf-8")
    with pytest.raises(QueryError, match="line 2"):
        read_questions(file)


def test_a_file_that_is_not_there_and_one_without_questions(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="No such file"):
        read_questions(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n", "utf-8")
    with pytest.raises(QueryError, match="no questions"):
        read_questions(tmp_path / "empty.jsonl")


# --- a first set of questions ---------------------------------------------------------------------------------------


def test_headings_become_questions_that_lead_to_their_page(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "made.jsonl"
    with KnowledgeBase.open(config) as knowledge_base:
        made = knowledge_base.make_questions(file, count=3)
    assert read_questions(file) == made
    assert len(made) == 3
    assert all(question.relevant[0].page == 2 for question in made)


@pytest.fixture
def chat() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An OpenAI-compatible chat service that asks about the first words of what it is sent, and keeps the requests."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "authorization": self.headers.get("Authorization"), **body})
            said = "What does it say?" if len(asked) < 3 else ""
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
            answer = json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_language_model_writes_questions_about_pages(
    tmp_path: Path, endpoint: str, chat: tuple[str, list[dict[str, Any]]]
) -> None:
    url, asked = chat
    long = "A page about rye bread and how it is made in the north. " * 10
    make_pdf(tmp_path / "pdfs" / "bread.pdf", ["\n".join([long[:80]] * 8), "\n".join([long[80:160]] * 8), "short"])
    settings = {"base_url": url, "model": "writer", "api_key": "sk-secret-key"}
    with KnowledgeBase.open(write_config(tmp_path, endpoint), writer=settings) as knowledge_base:
        knowledge_base.ingest(tmp_path / "pdfs")
        made = knowledge_base.make_questions(tmp_path / "q.jsonl", count=5, by_model=True)
    assert {question.relevant[0].page for question in made} == {1, 2}
    assert {question.query for question in made} == {"What does it say?"}
    assert {request["path"] for request in asked} == {"/v1/chat/completions"}
    assert asked[0]["authorization"] == "Bearer sk-secret-key"


def test_a_language_model_that_is_not_configured_or_not_there(config: Path, tmp_path: Path) -> None:
    for settings in ({}, {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-secret-key"}):
        with KnowledgeBase.open(config, writer=settings) as knowledge_base, pytest.raises(EndpointModelError) as raised:
            knowledge_base.make_questions(tmp_path / "q.jsonl", by_model=True)
        assert "writer.base_url" in str(raised.value)
        assert "sk-secret" not in str(raised.value)


# --- tuning ---------------------------------------------------------------------------------------------------------


def test_tuning_retrieval_tries_the_grid_and_leaves_the_collection_alone(config: Path, questions: Path) -> None:
    with KnowledgeBase.open(config) as knowledge_base:
        before = knowledge_base.status().to_dict()
        grid = {"chunking.max_tokens": (64, 200), "search.vector_weight": (0.5, 1.0)}
        shown: list[int] = []
        tuning = knowledge_base.tune_retrieval(
            questions, grid=grid, show=lambda so_far: shown.append(len(so_far.trials))
        )
        assert knowledge_base.status().to_dict() == before
    assert [dict(trial.settings) for trial in tuning.trials] == [
        {"chunking.max_tokens": 200, "search.vector_weight": 0.5},
        {"chunking.max_tokens": 64, "search.vector_weight": 0.5},
        {"chunking.max_tokens": 200, "search.vector_weight": 1.0},
    ]
    assert shown == [2, 3]
    assert tuning.best is tuning.trials[0]  # every question is answered at once: nothing can be better
    assert tuning.changes == {}
    assert not tuning.is_certain
    assert "data:image/png;base64," in tuning._repr_html_()


def test_a_grid_that_cannot_be_tried_is_an_error_before_anything_is_embedded(config: Path, questions: Path) -> None:
    for wrong in ("chunking.nonsense=1", "embedder.base_url=x", "search.vector_weight=-1", "search.fusion=magic", "x="):
        done = CliRunner().invoke(main, ["tune", "retrieval", str(questions), "--try", wrong, "--config", str(config)])
        assert done.exit_code == 2
        assert wrong.partition("=")[0] in done.output


def test_tuning_keeps_its_picture_as_a_page(config: Path, questions: Path, tmp_path: Path) -> None:
    page = tmp_path / "tuning.html"
    options = ["--try", "search.fusion=score,rrf", "--report", str(page), "--config", str(config)]
    done = CliRunner().invoke(main, ["tune", "retrieval", str(questions), *options])
    assert done.exit_code == 0, done.output
    assert "search.fusion rrf" in done.output
    assert "data:image/png;base64," in page.read_text("utf-8")


@pytest.mark.parametrize("enabled", [True, False])
def test_tuning_embeds_no_text_twice(tmp_path: Path, questions: Path, enabled: bool) -> None:
    server = HashServer()
    for number, topic in enumerate(TOPICS):
        make_pdf(tmp_path / "pdfs" / f"book{number}.pdf", [f"All about {topic}" + f"\nMore of {topic}." * 40])
    with (
        serve(server) as url,
        KnowledgeBase.open(
            write_config(tmp_path, f"{url}/v1", model="hash"), cache={"enabled": enabled}
        ) as knowledge_base,
    ):
        knowledge_base.ingest(tmp_path / "pdfs")
        before = len(server.texts)
        grid = {"chunking.max_tokens": (64, 100), "chunking.context": (True, False), "search.pair_weight": (0.0, 0.3)}
        tuning = knowledge_base.tune_retrieval(questions, grid=grid)
    sent = Counter(text for text in server.texts[before:] if any(topic in text for topic in TOPICS))
    assert len(tuning.trials) == 5
    assert sent
    assert set(sent.values()) == {1}


def trial(*per_question: float) -> RetrievalTrial:
    score = Score(sum(per_question) / len(per_question), 0.0, 1.0)
    return RetrievalTrial({}, score, score, 1.0, 1, 1, per_question)


def test_a_gain_is_judged_by_questions_that_had_no_part_in_the_choice() -> None:
    really_better = RetrievalTuning((trial(*[0.5] * 40), trial(*[0.6] * 40)), 40)
    assert really_better.gain.mean == pytest.approx(0.1)
    assert really_better.is_certain
    # Forty settings that are each better on a question of their own: the best of them is so by chance.
    lucky = [trial(*[1.0 if number == place else 0.5 for number in range(40)]) for place in range(40)]
    by_chance = RetrievalTuning((trial(*[0.5] * 40), *lucky), 40)
    assert by_chance.best.ndcg.mean > by_chance.trials[0].ndcg.mean
    assert by_chance.gain.mean < by_chance.best.ndcg.mean - by_chance.trials[0].ndcg.mean
    assert not by_chance.is_certain
    assert "may be chance" not in really_better.advice


def test_how_things_are_includes_the_reranker_that_is_configured(config: Path, questions: Path) -> None:
    class Backwards:
        candidates = 10

        def score(self, question: str, texts: Sequence[str]) -> list[float]:
            return [-float(sum(word in text for word in question.split())) for text in texts]

    with KnowledgeBase.open(config) as knowledge_base:
        tuning = tune_retrieval(
            knowledge_base.settings,
            read_questions(questions),
            documents=list(knowledge_base.store.documents()),
            endpoint=knowledge_base.embedder,
            reranker=Backwards(),
            grid={},
        )
    assert [one.settings for one in tuning.trials] == [{"rerank": True}, {"rerank": False}]
    assert tuning.best.settings == {"rerank": False}
    assert tuning.changes == {}
    assert "no reranking" in tuning.advice


def test_gpu_memory_is_what_the_server_says_it_uses() -> None:
    used, total = (f'kb_embed_gpu_memory_bytes{{device="cuda:0",kind="{kind}"}}' for kind in ("used", "total"))
    metrics = f"# HELP x y\nprocess_resident_memory_bytes 5e8\n{used} 1.5e+09\n{total} 8e+09\n".encode()
    with serve(lambda request: Answer(200 if request.path == "/metrics" else 404, metrics)) as url:
        assert gpu_memory(EmbedderSettings(base_url=f"{url}/v1")) == 1.5e9


def test_tuning_the_endpoint_finds_a_knee_and_writes_it(config: Path) -> None:
    options = ["--batch-size", "1", "--batch-size", "32", "--concurrency", "2", "--seconds", "0.5", "--write", "--json"]
    before = json.loads(config.read_text("utf-8"))
    done = CliRunner().invoke(main, ["tune", "endpoint", *options, "--config", str(config)])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    by_size = {trial["batch_size"]: trial["texts_per_second"] for trial in told["trials"]}
    assert by_size[32] > by_size[1]
    assert told["changes"] == {"embedder": {"batch_size": 32, "concurrency": 2}}
    written = json.loads(config.read_text("utf-8"))["pdf_knowledge"]["embedder"]
    assert written == {**before["pdf_knowledge"]["embedder"], "batch_size": 32, "concurrency": 2}
