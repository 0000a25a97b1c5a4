"""The endpoint client against servers as they are: the same promises at every one of them.

The bundled server and the re-created contracts run always; real vLLM and infinity with `make conformance`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kb.config import EmbedderSettings, Settings
from kb.embed import Embedder, EmbeddingSpace
from kb.errors import EndpointConnectionError, EndpointModelError
from kb.health import diagnose
from tests.conformance.contracts import TeiContract, guide_service
from tests.embed.servers import closed_port, serve

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("PDFKB_PEERS", ROOT.parent / "shared" / "peers"))
START_SECONDS = 300.0
WORDS = [
    "margin",
    "revenue",
    "segment",
    "audit",
    "board",
    "risk",
    "lease",
    "pension",
    "goodwill",
    "dividend",
    "hedge",
    "litigation",
]
TEXTS = [f"Note {n}: {WORDS[n % 12]} and {WORDS[n // 12 % 12]} of the year." * (1 + n % 3) for n in range(70)]


@dataclass(frozen=True)
class Server:
    """A running server, and what is known of it beforehand."""

    url: str
    kind: str
    model: str
    max_tokens: int
    takes_lists: bool = True
    checks_model: bool = True
    exact_tokens: bool = True

    def settings(self, **changes: Any) -> EmbedderSettings:
        fields = {"model": self.model, "timeout": 60, "retries": 2, "backoff_factor": 0.1, **changes}
        return EmbedderSettings(base_url=f"{self.url}/v1", **fields)


@contextmanager
def started(command: list[str], url: str, **environment: str) -> Iterator[None]:
    """A server program, until the end of the block; ready when /health answers 200."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _is_healthy(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    state = f"ended with status {process.returncode}" if process.returncode else "is not ready"
                    pytest.fail(f"{command} {state}:\n{log.read()[-2000:]}")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(30)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def bundled() -> Iterator[Server]:
    port = closed_port()
    url = f"http://127.0.0.1:{port}"
    with started([sys.executable, "-m", "server", "--port", str(port)], url):
        yield Server(url, "bundled server", "all-MiniLM-L6-v2", 256)


@contextmanager
def peer(name: str, kind: str, max_tokens: int, **known: Any) -> Iterator[Server]:
    script = PEERS / "serve.sh"
    if not script.is_file():
        pytest.skip(f"no peers in {PEERS}; set PDFKB_PEERS to the folder of install.sh and serve.sh")
    port = closed_port()
    url = f"http://127.0.0.1:{port}"
    with started(["bash", str(script), name, str(port)], url):
        yield Server(url, kind, "minilm", max_tokens, **known)


@contextmanager
def fastapi() -> Iterator[Server]:
    with guide_service() as url:
        yield Server(url, "FastAPI service", "hash", 256, takes_lists=False, checks_model=False, exact_tokens=False)


@contextmanager
def tei() -> Iterator[Server]:
    with serve(TeiContract()) as url:
        yield Server(url, "TEI", "hash", 64, checks_model=False)


SERVERS = {
    "bundled": bundled,
    "fastapi": fastapi,
    "tei": tei,
    "vllm": lambda: peer("vllm", "vLLM", 256),
    "infinity": lambda: peer("infinity", "infinity", 256, checks_model=False, exact_tokens=False),
}
PEER_MARK = pytest.mark.peers


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[PEER_MARK] * (name in ("vllm", "infinity"))) for name in SERVERS]
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each of the servers in turn."""
    if request.param in ("vllm", "infinity") and "peers" not in request.config.option.markexpr:
        pytest.skip("a real peer is asked only by make conformance")
    with SERVERS[request.param]() as running:
        yield running


@pytest.fixture(scope="module")
def embedder(server: Server) -> Iterator[Embedder]:
    with Embedder(server.settings()) as opened:
        yield opened


def test_it_is_recognised(server: Server, embedder: Embedder) -> None:
    assert embedder.profile.kind == server.kind
    assert embedder.profile.takes_lists is server.takes_lists


def test_its_maximum_length_is_known(server: Server, embedder: Embedder) -> None:
    assert embedder.tokenizer.max_tokens == server.max_tokens


def test_vectors_are_of_unit_length_and_in_order(embedder: Embedder) -> None:
    batch = embedder.embed_documents(TEXTS)
    assert not batch.failures
    np.testing.assert_allclose(np.linalg.norm(batch.vectors, axis=1), 1, atol=1e-4)
    for place in (0, 13, 37, 69):
        assert float(batch.vectors[place] @ embedder.embed_query(TEXTS[place])) > 0.999


def test_a_text_far_too_long_harms_no_other(server: Server, embedder: Embedder) -> None:
    batch = embedder.embed_documents([*TEXTS[:5], "very long " * 5000, *TEXTS[5:10]])
    assert set(batch.failures) <= {5}
    assert np.isfinite(np.delete(batch.vectors, 5, axis=0)).all()


def test_odd_texts_are_embedded_or_fail_alone(embedder: Embedder) -> None:
    odd = ["", " ", "\n\n", "\x00", "🦉" * 50, "ﬁnancial", "ﷺ", "a" * 400, "مرحبا", "\u2028", "1" * 100]
    batch = embedder.embed_documents(odd + TEXTS[:3])
    assert set(batch.failures) <= set(range(len(odd)))
    assert np.isfinite(batch.vectors[len(odd) :]).all()


def test_tokens_are_counted_as_it_counts_them(server: Server, embedder: Embedder) -> None:
    counter = embedder.tokenizer
    assert counter.exact is server.exact_tokens
    counts = counter.count(["", "margin", "operating margin"])
    assert counts[0] <= counts[1] <= counts[2]
    if server.exact_tokens and server.kind != "TEI":  # the contract has no real usage to compare with
        with Embedder(server.settings()) as fresh:
            before = fresh.profile and fresh.usage.tokens
            fresh.embed_query("operating margin fell")
            assert fresh.usage.tokens - before == counter.count(["operating margin fell"])[0]


def test_an_unknown_model_is_a_model_error(server: Server) -> None:
    if not server.checks_model:
        pytest.skip("takes any name")
    with Embedder(server.settings(model="no-such-model")) as embedder, pytest.raises(EndpointModelError) as caught:
        embedder.embed_query("why?")
    assert server.model in caught.value.fix


def test_the_space_is_the_same_each_time(server: Server, embedder: Embedder) -> None:
    with Embedder(server.settings()) as again:
        assert EmbeddingSpace.from_json(embedder.space.to_json()).difference(again.space) is None


def test_the_doctor_finds_nothing_wrong(server: Server) -> None:
    checks = list(diagnose(Settings(embedder=server.settings())))
    assert not [check for check in checks if check.status == "fail"]
    assert server.kind in {check.came_back for check in checks if check.name == "server"}
    assert {"path", "connection", "model", "dimension", "lists", "length", "replicas", "speed"} <= {
        check.name for check in checks
    }


# --- what only the contracts show -----------------------------------------------------------------------------------


def test_tei_is_never_sent_more_than_it_takes() -> None:
    contract = TeiContract()
    with serve(contract) as url, Embedder(Server(url, "TEI", "hash", 64).settings(batch_size=64)) as embedder:
        assert not embedder.embed_documents(TEXTS).failures
    assert max(len(request.texts) for request in contract.requests) == 32


def test_tei_refuses_one_text_and_embeds_the_others() -> None:
    contract = TeiContract()
    texts = [*TEXTS[:3], "", "word " * 100, "backend failure", *TEXTS[3:6]]
    with serve(contract) as url, Embedder(Server(url, "TEI", "hash", 64).settings()) as embedder:
        batch = embedder.embed_documents(texts)
    assert {place: error.what.split(":")[0] for place, error in batch.failures.items()} == {
        3: "it answers 400",
        4: "it answers 422",
        5: "it answers 424",
    }


def test_tei_with_too_few_permits_for_a_batch_is_a_connection_error_that_says_so() -> None:
    """It counts texts, not requests: with --max-concurrent-requests under the batch size it refuses for ever."""
    contract = TeiContract(max_concurrent=8)
    with (
        serve(contract) as url,
        Embedder(Server(url, "TEI", "hash", 64).settings(backoff_factor=0.01)) as embedder,
        pytest.raises(EndpointConnectionError, match=r"429: Model is overloaded.*lower embedder.concurrency"),
    ):
        embedder.embed_documents(TEXTS)


def test_tei_that_is_overloaded_for_a_while_is_waited_for() -> None:
    contract = TeiContract()
    busy = iter([contract.error(429, "Model is overloaded", "Overloaded")] * 2)
    with serve(contract) as url, Embedder(Server(url, "TEI", "hash", 64).settings(backoff_factor=0.01)) as embedder:
        assert embedder.space
        contract.before = lambda _: next(busy, None)
        assert not embedder.embed_documents(TEXTS).failures
        assert embedder.usage.retries == 2


def test_teis_payload_limit_is_met_by_smaller_batches() -> None:
    contract = TeiContract(payload_limit=1000)
    with serve(contract) as url, Embedder(Server(url, "TEI", "hash", 64).settings()) as embedder:
        assert not embedder.embed_documents(TEXTS).failures


def test_text_generation_inference_is_told_from_tei() -> None:
    from tests.embed.servers import Answer, HashServer, Request

    class Tgi(HashServer):
        def other(self, request: Request) -> Answer:
            return (
                Answer(body={"max_input_tokens": 4095, "version": "3.3.7"}) if request.path == "/info" else Answer(404)
            )

    with (
        serve(Tgi(before=lambda _: Answer(404, b""))) as url,
        Embedder(Server(url, "TGI", "hash", 0).settings()) as embedder,
        pytest.raises(EndpointModelError, match=r"TGI.*text-embeddings-router"),
    ):
        embedder.embed_query("why?")
