"""Searching a real collection through the bundled server: what a person gets to see, and what they may type."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import make_pdf, write_config
from server_running import RunningServer, start_server

from kb import KnowledgeBase
from kb.errors import EndpointConnectionError, QueryError, StoreError
from kb.store.lists import StoreLists

MARGINS = "Annual results\nThe operating margin fell to 12 percent. Freight cost more than in the year before."
BEES = "Bees dance to tell where flowers are. A waggle dance says direction and distance."
BEES_AGAIN = "Honey bees dance for each other. The waggle dance tells direction and distance of flowers."


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Path:
    folder = tmp_path_factory.mktemp("search")
    make_pdf(folder / "pdfs" / "report.pdf", [MARGINS, "Nothing here but a picture of a lake."], title="Report 2022")
    make_pdf(folder / "pdfs" / "bees.pdf", [BEES, BEES_AGAIN], title="On bees")
    make_pdf(folder / "more" / "wasps.pdf", ["Wasps do not dance. They build nests of paper."], title="On wasps")
    config = write_config(folder, endpoint)
    with KnowledgeBase.open(config) as knowledge_base:
        knowledge_base.ingest(folder / "pdfs")
    with KnowledgeBase.open(config, storage={"collection": "more"}) as knowledge_base:
        knowledge_base.ingest(folder / "more")
    return config


@pytest.fixture
def knowledge_base(config: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(config) as knowledge_base:
        yield knowledge_base


def test_a_hit_has_the_sentence_that_matched_marked(knowledge_base: KnowledgeBase) -> None:
    hit = knowledge_base.search("What happened to the operating margin?")[0]
    assert (hit.document.rsplit("/", 1)[-1], hit.page) == ("report.pdf", 1)
    [(start, end)] = hit.marks
    assert "operating margin fell" in hit.text[start:end]
    assert hit.channels.keys() == {"vector", "text", "page", "pair", "document"}


def test_a_page_is_one_hit(knowledge_base: KnowledgeBase) -> None:
    hits = knowledge_base.search("dance of bees", k=10)
    places = [(hit.document, hit.page) for hit in hits]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("fusion", ["score", "rrf"])
def test_both_fusions_find_the_right_page_first(config: Path, fusion: str) -> None:
    with KnowledgeBase.open(config, search={"fusion": fusion}) as knowledge_base:
        assert knowledge_base.search("why did freight matter?")[0].page == 1


def test_diversity_brings_other_things_forward(config: Path) -> None:
    def documents(diversity: float) -> list[str]:
        with KnowledgeBase.open(config, search={"diversity": diversity}) as knowledge_base:
            found = knowledge_base.search("how bees dance", k=2)
        return [hit.document.rsplit("/", 1)[-1] for hit in found]

    assert documents(0.0) == ["bees.pdf", "bees.pdf"]
    assert documents(0.9) == ["bees.pdf", "report.pdf"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("title~bees", {"bees.pdf"}),
        ("name=report.pdf", {"report.pdf"}),
        ("name!=report.pdf", {"bees.pdf"}),
        ("page>=2", {"bees.pdf", "report.pdf"}),
        ("pages>2", set()),
        ("author~nobody'; DROP TABLE chunks; --", set()),
    ],
)
def test_conditions_narrow_a_search(knowledge_base: KnowledgeBase, condition: str, found: set[str]) -> None:
    hits = knowledge_base.search("dance", where=condition)
    assert {hit.document.rsplit("/", 1)[-1] for hit in hits} == found
    assert knowledge_base.search("dance")


def test_several_collections_are_searched_as_one(knowledge_base: KnowledgeBase) -> None:
    hits = knowledge_base.search("who does dance?", collections=["default", "more"])
    assert {"bees.pdf", "wasps.pdf"} <= {hit.document.rsplit("/", 1)[-1] for hit in hits}
    assert [hit.document.rsplit("/", 1)[-1] for hit in knowledge_base.search("dance", collections="more")] == [
        "wasps.pdf"
    ]


def test_a_collection_that_is_not_there_is_an_error_that_names_it(knowledge_base: KnowledgeBase) -> None:
    with pytest.raises(StoreError, match="elsewhere"):
        knowledge_base.search("dance", collections="elsewhere")


def test_hits_of_a_document_stand_together_when_asked_for(knowledge_base: KnowledgeBase) -> None:
    grouped = knowledge_base.search("margin of bees dance", k=10).by_document()
    names = [hit.document for hit in grouped]
    assert names == sorted(names, key=names.index)
    assert len(grouped) == 4


@pytest.mark.parametrize("query", ["", "   ", "\x00", "x" * 100_000])
def test_what_is_no_question_is_a_clear_error(knowledge_base: KnowledgeBase, query: str) -> None:
    with pytest.raises(QueryError):
        knowledge_base.search(query)


HOSTILE = [
    '"', "'", "''; DROP TABLE chunks; --", '"unclosed phrase', "AND OR NOT", "a AND (b OR", "title:bees^5 ~2", "*", "?",
    "+-&&||!(){}[]^~:\\/",
    "🐝🌸", "dance\x00of\x1fbees", "\ud800 surrogate", "%s %d {} ${HOME}", "什么是蜜蜂", "<script>",
    "what which who", "../../etc/passwd", "\n\n\n.", "a" * 9_999,
]  # fmt: skip


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
@pytest.mark.parametrize("query", HOSTILE)
def test_any_string_is_only_a_question(knowledge_base: KnowledgeBase, query: str, mode: str) -> None:
    assert len(knowledge_base.search(query, mode=mode)) <= 10


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=200))
def test_whatever_is_typed_gives_hits_or_a_clear_error(knowledge_base: KnowledgeBase, query: str) -> None:
    with contextlib.suppress(QueryError):
        assert len(knowledge_base.search(query, mode="text")) <= 10


def test_figures_and_abbreviations_are_found_as_they_are_written(config: Path, tmp_path: Path) -> None:
    made = ["Sales in the U.S. were 1,234.5 million.", "Sales in the EU were 1 million, 234 of 5 shops are closed."]
    make_pdf(tmp_path / "sales.pdf", made[::-1])
    with KnowledgeBase.open(config, storage={"collection": "sales"}) as knowledge_base:
        knowledge_base.ingest(tmp_path)
        assert [hit.page for hit in knowledge_base.search("1,234.5", mode="text")] == [2]
        assert [hit.page for hit in knowledge_base.search("U.S.", mode="text")] == [2]


def test_a_page_is_found_by_its_files_name(config: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("Acme_2018_10K", "Globex_2018_10K", "Initech_2018_10K")):
        make_pdf(tmp_path / f"{name}.pdf", [f"Capital expenditure was {12 + number} million."])
    with KnowledgeBase.open(config, storage={"collection": "filings"}) as knowledge_base:
        knowledge_base.ingest(tmp_path)
        best = knowledge_base.search("What was the capital expenditure of Globex?")[0]
    assert best.document.endswith("Globex_2018_10K.pdf")


def test_a_question_may_name_the_folders_that_a_file_lies_in(config: Path, tmp_path: Path) -> None:
    for number, folder in enumerate(("Acme/2018", "Globex/2018", "Initech/2018", "Initech/2019")):
        made = f"Capital expenditure was {12 + number} million."
        make_pdf(tmp_path / folder / "annual report.pdf", [made], title="Annual report")
    with KnowledgeBase.open(config, storage={"collection": "folders"}) as knowledge_base:
        knowledge_base.ingest(tmp_path)
        best, *others = knowledge_base.search("What was the capital expenditure of Initech in 2018?")
        assert best.document.endswith("Initech/2018/annual report.pdf")
        assert (best.channels["name"], [hit.channels["name"] for hit in others]) == (1, [2, 3, 3])
        (tmp_path / "Globex").rename(tmp_path / "Umbrella")
        knowledge_base.ingest(tmp_path, prune=True)
        renamed = knowledge_base.search("What was the capital expenditure of Umbrella in 2018?")[0]
    assert renamed.document.endswith("Umbrella/2018/annual report.pdf")


def test_pages_are_found_by_the_names_that_their_files_have_now(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "filings"
    for number in range(3):
        make_pdf(folder / f"scan {number}.pdf", [f"Capital expenditure was {12 + number} million."], title="Filing")
    with KnowledgeBase.open(config, storage={"collection": "renamed"}) as knowledge_base:

        def found(query: str) -> list[str]:
            return [Path(hit.document).name for hit in knowledge_base.search(query) if "page" in hit.channels]

        knowledge_base.ingest(folder)
        assert sorted(found("scan")) == ["scan 0.pdf", "scan 1.pdf", "scan 2.pdf"]
        (folder / "scan 1.pdf").rename(folder / "Globex_2018.pdf")
        copied = (folder / "scan 2.pdf").read_bytes()
        (folder / "Initech_2018.pdf").write_bytes(copied)
        knowledge_base.ingest(folder, prune=True)
        assert found("Globex") == ["Globex_2018.pdf"]
        assert sorted(found("scan")) == ["Initech_2018.pdf", "scan 0.pdf"]  # cited by the first of its names
        assert found("Initech") == ["Initech_2018.pdf"]
        (folder / "Initech_2018.pdf").unlink()
        knowledge_base.ingest(folder, prune=True)
        assert found("Initech") == []
        assert sorted(found("scan")) == ["scan 0.pdf", "scan 2.pdf"]
        assert len(found("expenditure")) == 3


def test_a_search_begins_anew_where_an_ingest_moves_what_it_found(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = StoreLists.details, []

    def moved_once(store: StoreLists, row_ids: list[int], columns: tuple[str, ...]) -> dict[int, dict[str, object]]:
        calls.append(1)
        return {} if len(calls) == 1 else real(store, row_ids, columns)

    monkeypatch.setattr(StoreLists, "details", moved_once)
    with KnowledgeBase.open(config) as knowledge_base:
        assert knowledge_base.search("operating margin")[0].document.endswith("report.pdf")
        monkeypatch.setattr(StoreLists, "details", lambda *_: {})
        with pytest.raises(StoreError, match="rewritten"):
            knowledge_base.search("operating margin")


# --- reranking ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
    try:
        from tiny_models import make_cross_encoder
    finally:
        sys.path.pop(0)
    model = make_cross_encoder(tmp_path_factory.mktemp("reranker"))
    running = start_server(tmp_path_factory.mktemp("rerank"), "--model", f"ranker={model}", "--truncate")
    yield running
    running.stop()


def test_a_reranker_decides_the_order(config: Path, reranker: RunningServer) -> None:
    ranker = {"base_url": f"{reranker.url}/v1", "model": "ranker"}
    with KnowledgeBase.open(config, reranker=ranker) as knowledge_base:
        hits = knowledge_base.search("how do bees dance?")
        plain = knowledge_base.search("how do bees dance?", rerank=False)
    texts = [hit.text for hit in plain]
    body = {"query": "how do bees dance?", "documents": texts, "model": "ranker"}
    scored = reranker.client.post("/v1/rerank", json=body).json()["results"]
    expected = [texts[result["index"]] for result in scored]
    assert [hit.text for hit in hits] == expected
    assert [hit.channels["rerank"] for hit in hits] == list(range(1, len(hits) + 1))
    assert all("rerank" not in hit.channels for hit in plain)


def test_a_reranker_that_does_not_answer_is_an_error_with_its_own_keys(config: Path) -> None:
    nobody = {"base_url": "http://127.0.0.1:9/v1", "model": "ranker"}
    with (
        KnowledgeBase.open(config, reranker=nobody) as knowledge_base,
        pytest.raises(EndpointConnectionError, match=r"reranker\.base_url"),
    ):
        knowledge_base.search("bees")


def test_asking_for_a_reranker_that_is_not_configured_says_which_key_to_set(knowledge_base: KnowledgeBase) -> None:
    with pytest.raises(QueryError, match=r"reranker\.base_url"):
        knowledge_base.search("bees", rerank=True)
