"""Every refusal has OpenAI's error object and is, to litellm, the exception that its clients expect (each was seen to
arrive so in litellm 1.106.2; a wrong word makes another class of it)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from server_running import MODEL, RunningServer, start_server

BULK = [f"Sentence number {index} about freight costs and margins. " * 8 for index in range(256)]


@pytest.fixture
def litellm(litellm: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One that does not retry what is meant to fail."""
    monkeypatch.setenv("DEFAULT_MAX_RETRIES", "0")
    return litellm


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Small limits, a key."""
    options = ("--max-body-mb", "0.2", "--max-texts", "300", "--max-queued-tokens", "20000", "--request-timeout", "60")
    running = start_server(tmp_path_factory.mktemp("limited"), *options, environment={"PDFKB_SERVER_API_KEY": "right"})
    yield running
    running.stop()


def raised(
    litellm: Any, server: RunningServer, route: str, *, texts: Any, model: str = MODEL, key: str = "right", **more: Any
) -> str:
    """The name of litellm's exception."""
    more.setdefault("allowed_openai_params", ["dimensions"])
    try:
        litellm.embedding(
            model=f"{route}/{model}", input=texts, api_base=f"{server.url}/v1", api_key=key, timeout=60, **more
        )
    except Exception as error:
        return type(error).__name__
    return "nothing"


CASES = {
    "wrong key": ({"texts": ["a"], "key": "wrong"}, "AuthenticationError"),
    "unknown model": ({"texts": ["a"], "model": "nope"}, "NotFoundError"),
    "too many texts": ({"texts": ["a"] * 400}, "BadRequestError"),
    "too long an input": ({"texts": ["word " * 400]}, "ContextWindowExceededError"),
    "too large a body": ({"texts": ["word " * 200] * 250}, "BadRequestError"),
    "over the queue by itself": ({"texts": ["word " * 200] * 150}, "BadRequestError"),
    "no such size": ({"texts": ["a"], "dimensions": 17}, "BadRequestError"),
    "time is over": ({"texts": BULK[:64], "extra_headers": {"X-Request-Timeout": "0.000001"}}, "Timeout"),
}


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_the_class_that_litellm_users_catch(
    litellm: Any, limited: RunningServer, route: str, case: str
) -> None:
    request, expected = CASES[case]
    before = asked(limited)
    assert raised(litellm, limited, route, **request) == expected
    assert asked(limited) == before + 1  # and it was not tried again


def asked(server: RunningServer) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("kb_embed_requests_total{") and "/v1/embeddings" in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in counts)


@pytest.mark.parametrize("route", ["openai", "hosted_vllm"])
def test_overload_is_a_rate_limit(litellm: Any, limited: RunningServer, route: str) -> None:
    stop = threading.Event()

    def fill() -> None:
        while not stop.is_set():
            limited.embed(BULK[:128])

    filling = [threading.Thread(target=fill) for _ in range(4)]
    for thread in filling:
        thread.start()
    seen: list[str] = []
    try:
        while "RateLimitError" not in seen and len(seen) < 6:
            seen.append(raised(litellm, limited, route, texts=BULK[:150]))
    finally:
        stop.set()
        for thread in filling:
            thread.join(60)
    assert seen[-1] == "RateLimitError"
    assert set(seen[:-1]) <= {"nothing"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nope", None, 404),
        ("GET", "/../../etc/passwd", None, 404),
        ("DELETE", "/v1/embeddings", None, 405),
        ("POST", "/v1/embeddings", b"{", 400),
        ("POST", "/v1/embeddings", b"[" * 100_000, 400),
        ("POST", "/v1/embeddings", b'{"input": NaN}', 400),
        ("POST", "/v1/embeddings", b'{"input": "x", "model": "' + b"m" * 50_000 + b'"}', 404),
        ("POST", "/v1/embeddings", b'{"input": "x", "encoding_format": "' + b"m" * 50_000 + b'"}', 400),
        ("POST", "/v1/rerank", b"{}", 400),
        ("POST", "/tokenize", b"{}", 400),
        ("POST", "/detokenize", b"{}", 400),
    ],
)
def test_every_refusal_has_the_one_shape(
    limited: RunningServer, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = limited.client.request(method, path, content=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert len(response.content) <= 2048
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
    assert "request too large" not in response.text.lower()  # litellm makes a rate limit of these words
