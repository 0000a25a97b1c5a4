"""A model that fails, runs out of memory or hangs, in a real server: its own code does so on certain words."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from server_running import MODEL, RunningServer, start_server
from tiny_models import make_embedder, packaged_model

from server.loading import CANARIES

UNKNOWN = "🦄"

# A module at the end of the model, as a model's author could have written it.
TRAP = """
import time
import torch

class Trap(torch.nn.Module):
    def forward(self, features, **_):
        ids = features["input_ids"]
        if (ids == {poison}).any():
            raise ValueError("poison in a text")
        if (ids == {memory}).any() and len(ids) > 2:
            raise RuntimeError("out of memory: tried to allocate")
        if (ids == {hang}).any():
            time.sleep(3600)
        return features

    def save(self, *_, **__):
        pass

    @classmethod
    def load(cls, *_, **__):
        return cls()
"""


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that fails on "poison", runs out of memory on "memory", and hangs on "hang"."""
    from tokenizers import Tokenizer

    model = make_embedder(tmp_path_factory.mktemp("trapped"))
    tokenizer = Tokenizer.from_file(str(Path(packaged_model()) / "tokenizer.json"))
    words = {word: tokenizer.token_to_id(word) for word in ("poison", "memory", "hang")}
    (model / "trap.py").write_text(TRAP.format(**words))
    # What the vocabulary lacks has no token, not even "unknown": its tokenizer fails on it. What every model is asked
    # before it is ready it has to know.
    described = json.loads((model / "tokenizer.json").read_text())
    vocabulary = described["model"]["vocab"]
    for number, letter in enumerate(sorted(set("".join(CANARIES)) - set(vocabulary))):
        vocabulary[letter] = vocabulary.pop(f"[unused{number}]")
    described["model"]["unk_token"] = "[NONE]"
    (model / "tokenizer.json").write_text(json.dumps(described))
    configured = json.loads((model / "tokenizer_config.json").read_text()) | {"unk_token": None}
    (model / "tokenizer_config.json").write_text(json.dumps(configured | {"tokenizer_class": "TokenizersBackend"}))
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": "", "type": "trap.Trap"})
    (model / "modules.json").write_text(json.dumps(modules))
    return model


@pytest.fixture(scope="module")
def server(trapped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ("--model", f"all-MiniLM-L6-v2={trapped}", "--trust-remote-code", "--drain-timeout", "1")
    running = start_server(tmp_path_factory.mktemp("faults"), *options)
    yield running
    running.stop()


def test_code_of_a_model_is_not_run_unasked(trapped: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="trust"):
        start_server(tmp_path, "--model", str(trapped))


def test_a_text_that_fails_is_a_500_and_nobody_elses(server: RunningServer) -> None:
    def ask(number: int) -> httpx.Response:
        return server.embed([f"text {number}", "poison" if number % 20 == 0 else "fine"])

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(1000)))
    assert [answer.status_code for answer in answers] == [500 if n % 20 == 0 else 200 for n in range(1000)]
    error = answers[0].json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], answers[0].headers["x-should-retry"]) == ("server_error", "false")
    assert "poison" not in answers[0].text
    assert "Traceback" not in answers[0].text


@pytest.mark.parametrize("path", ["/v1/embeddings", "/tokenize"])
def test_a_text_that_cannot_be_tokenised_is_a_500_and_nobody_elses(server: RunningServer, path: str) -> None:
    def ask(number: int) -> httpx.Response:
        texts = [f"text {number}", UNKNOWN if number % 20 == 0 else "fine"]
        return server.client.post(path, json={"model": MODEL, "input": texts, "texts": texts})

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(200)))
    assert [answer.status_code for answer in answers] == [500 if n % 20 == 0 else 200 for n in range(200)]
    assert set(answers[0].json()["error"]) == {"message", "type", "param", "code"}
    assert UNKNOWN not in answers[0].text
    assert server.client.get("/readyz").status_code == 200


def test_memory_that_runs_out_costs_nobody_an_answer(server: RunningServer) -> None:
    def retries() -> float:
        found = re.search(r"kb_embed_oom_retries_total ([\d.]+)", server.client.get("/metrics").text)
        assert found is not None
        return float(found[1])

    before = retries()
    answer = server.embed(["memory " * 3] * 16 + ["fine"] * 16)
    assert (answer.status_code, len(answer.json()["data"])) == (200, 32)
    assert retries() > before


def test_a_model_that_hangs_is_seen_within_ten_seconds_and_keeps_nobody(server: RunningServer) -> None:
    """The last of this server: it hangs for good, and can still be ended."""
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(server.embed, "hang")
        statuses: dict[int, float] = {}
        started = time.monotonic()
        with httpx.Client(base_url=server.url) as http:
            while 503 not in statuses and time.monotonic() - started < 20:
                statuses[http.get("/livez").status_code] = time.monotonic() - started
                time.sleep(0.05)
            assert 9 < statuses[503] < 11
            assert http.get("/readyz").status_code == 503
            assert http.get("/startupz").status_code == 200
            assert 'kb_embed_worker_up{model="all-MiniLM-L6-v2"} 0.0' in http.get("/metrics").text
        server.process.send_signal(signal.SIGTERM)
        assert hanging.result().status_code == 503
    assert server.process.wait(10) == 0
