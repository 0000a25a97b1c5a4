"""Reranking: the cross-encoder's own scores, in the shape that Cohere's, Jina's and vLLM's clients read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server_running import MODEL, RunningServer, start_server
from tiny_models import make_cross_encoder

QUERY = "What fell?"
DOCUMENTS = ["Margins fell in the second quarter.", "It rained.", "Freight costs rose.", "Prices were flat, and so on."]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="module")
def reranker(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ("--model", f"ranker={path}", "--model", MODEL, "--dtype", "float32")
    running = start_server(tmp_path_factory.mktemp("rerank"), *options)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def scores(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import CrossEncoder

        return np.asarray(CrossEncoder(str(path), device="cpu").predict([(QUERY, text) for text in DOCUMENTS]))


@pytest.mark.parametrize("route", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_scores_are_the_cross_encoders_best_first(reranker: RunningServer, scores: np.ndarray, route: str) -> None:
    answer = reranker.client.post(route, json={"query": QUERY, "documents": DOCUMENTS, "model": "ranker"}).json()
    order = [result["index"] for result in answer["results"]]
    assert order == list(np.argsort(-scores))
    assert np.abs(scores[order] - [result["relevance_score"] for result in answer["results"]]).max() <= 1e-5


def test_only_as_many_as_asked_for_come_back_with_their_texts(reranker: RunningServer) -> None:
    body = {"query": QUERY, "documents": [{"text": text} for text in DOCUMENTS], "top_n": 2, "return_documents": True}
    results = reranker.client.post("/v1/rerank", json=body).json()["results"]
    assert [result["document"]["text"] for result in results] == [DOCUMENTS[result["index"]] for result in results]
    assert len(results) == 2


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"query": None}, "query"),
        ({"query": ["a"]}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "text"}, "documents"),
        ({"documents": ["a", 3]}, "documents"),
        ({"documents": [{"title": "a"}]}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "all"}, "top_n"),
        ({"model": MODEL}, "model"),
    ],
)
def test_a_wrong_request_names_the_field(reranker: RunningServer, changes: dict[str, object], parameter: str) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS, "model": "ranker"} | changes
    response = reranker.client.post("/v1/rerank", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, parameter)


def test_embeddings_of_a_reranker_are_a_400_that_says_where_to_ask(reranker: RunningServer) -> None:
    response = reranker.client.post("/v1/embeddings", json={"input": "a", "model": "ranker"})
    assert response.status_code == 400
    assert "/v1/rerank" in response.json()["error"]["message"]


def test_too_long_a_pair_is_refused_unless_it_may_be_cut(reranker: RunningServer) -> None:
    body = {"query": QUERY, "documents": ["short", "word " * 100], "model": "ranker"}
    refused = reranker.client.post("/v1/rerank", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert reranker.client.post("/v1/rerank", json=body | {"truncate": True}).status_code == 200


def test_a_monster_of_a_document_is_refused_or_cut_without_tokenising_it(reranker: RunningServer) -> None:
    body = {"query": QUERY, "documents": ["short", "word " * 400_000], "model": "ranker"}
    refused = reranker.client.post("/v1/rerank", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "2000000 characters" in refused.json()["error"]["message"]
    assert reranker.client.post("/v1/rerank", json=body | {"truncate": True}).status_code == 200
    query = reranker.client.post("/v1/rerank", json=body | {"query": "word " * 400_000, "truncate": True})
    assert (query.status_code, query.json()["error"]["code"]) == (400, "context_length_exceeded")


# Their requests are alike but for the path; infinity's adapter wants texts as strings, hosted_vllm's as objects.
@pytest.mark.parametrize("with_texts", [True, False])
@pytest.mark.parametrize(
    ("prefix", "base"),
    [
        ("hosted_vllm", "/v1"),
        ("hosted_vllm", ""),
        ("infinity", "/infinity"),
        ("cohere", ""),
        ("cohere", "/v1/rerank"),
        ("jina_ai", "/v1"),
    ],
)
def test_litellm_reranks_with_it(
    reranker: RunningServer,
    scores: np.ndarray,
    prefix: str,
    base: str,
    with_texts: bool,
    litellm: Any,
) -> None:
    answer = litellm.rerank(
        model=f"{prefix}/ranker",
        query=QUERY,
        documents=DOCUMENTS,
        top_n=3,
        return_documents=with_texts,
        api_base=reranker.url + base,
        api_key="no",
    )
    best = list(np.argsort(-scores)[:3])
    assert [result["index"] for result in answer.results] == best
    if with_texts:
        assert [result["document"]["text"] for result in answer.results] == [DOCUMENTS[index] for index in best]
    assert answer.meta["billed_units"]["total_tokens"] > 0
