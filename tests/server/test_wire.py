"""OpenAI's wire format, case by case: every form of input with every encoding, by plain HTTP, the openai package and
litellm under each of its prefixes. Each answer has the vectors of the plainest request, in order, and counts tokens."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import numpy as np
import openai
import pytest
from server_running import MODEL, RunningServer

TEXTS = ["Operating margin fell.", "第一季度利润下降", "a", "The committee met on 4 May. " * 12]
FORMS = ("string", "strings", "ids", "lists of ids")
ENCODINGS = ("absent", "float", "base64", None)
EXTRAS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "user": {"user": "someone"},
    "fields unknown": {"something_new": {"a": [1]}, "stream": False},
    "nulls": {"dimensions": None, "user": None, "truncate": None, "input_type": None, "prompt": None},
}
PREFIXES = ("openai", "hosted_vllm", "infinity", "litellm_proxy")


@pytest.fixture(scope="module")
def ids(server: RunningServer) -> list[list[int]]:
    found: list[list[int]] = server.client.post("/tokenize", json={"input": TEXTS}).json()["tokens"]
    return found


@pytest.fixture(scope="module")
def plain(server: RunningServer) -> np.ndarray:
    return np.array([item["embedding"] for item in server.embed(TEXTS).json()["data"]], np.float32)


def input_of(form: str, ids: list[list[int]]) -> Any:
    return {"string": TEXTS[0], "strings": TEXTS, "ids": ids[0], "lists of ids": ids}[form]


def assert_vectors(rows: list[Any], plain: np.ndarray, form: str) -> None:
    expected = plain if form in ("strings", "lists of ids") else plain[:1]
    decoded = [np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else row for row in rows]
    found = np.array(decoded, np.float32)
    assert found.shape == expected.shape
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() >= 0.9999


def tokens_of(form: str, ids: list[list[int]]) -> int:
    return sum(map(len, ids if form in ("strings", "lists of ids") else ids[:1]))


@pytest.mark.parametrize(("form", "encoding", "extra"), list(itertools.product(FORMS, ENCODINGS, EXTRAS)))
def test_plain_http(
    server: RunningServer, ids: list[list[int]], plain: np.ndarray, form: str, encoding: str | None, extra: str
) -> None:
    body = {"input": input_of(form, ids), "model": MODEL, **EXTRAS[extra]}
    if encoding != "absent":
        body["encoding_format"] = encoding
    answer = server.client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["object"], said["model"]) == ("list", MODEL)
    assert [item["index"] for item in said["data"]] == list(range(len(said["data"])))
    assert {item["object"] for item in said["data"]} == {"embedding"}
    assert {type(item["embedding"]) for item in said["data"]} == {str if encoding == "base64" else list}
    assert_vectors([item["embedding"] for item in said["data"]], plain, form)
    assert said["usage"] == dict.fromkeys(("prompt_tokens", "total_tokens"), tokens_of(form, ids))


@pytest.mark.parametrize(("form", "encoding"), list(itertools.product(FORMS, ("absent", "float", "base64"))))
def test_the_openai_package(
    server: RunningServer, ids: list[list[int]], plain: np.ndarray, form: str, encoding: str
) -> None:
    more: Any = {} if encoding == "absent" else {"encoding_format": encoding}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = client.embeddings.create(model=MODEL, input=input_of(form, ids), **more)
    assert_vectors([item.embedding for item in answer.data], plain, form)
    assert answer.usage.prompt_tokens == tokens_of(form, ids)


@pytest.mark.parametrize(
    ("prefix", "form", "encoding"), list(itertools.product(PREFIXES, FORMS, ("absent", "float", "base64")))
)
def test_litellm(
    server: RunningServer,
    ids: list[list[int]],
    plain: np.ndarray,
    prefix: str,
    form: str,
    encoding: str,
    litellm: Any,
) -> None:
    base = f"{server.url}/infinity" if prefix == "infinity" else f"{server.url}/v1"
    more: Any = {} if encoding == "absent" else {"encoding_format": encoding}
    answer = litellm.embedding(
        model=f"{prefix}/{MODEL}", input=input_of(form, ids), api_base=base, api_key="none", **more
    )
    assert_vectors([item["embedding"] for item in answer.data], plain, form)
    assert answer.usage.prompt_tokens == tokens_of(form, ids)
