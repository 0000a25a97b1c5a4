"""`python -m server bench`: what it measures, what it recommends, what it says of what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from server_running import MODEL, start_server

from server.bench import MOST_RECALL_LOSS, PACKAGES, Candidate, Result, _is_installed, candidates, main, recommended
from server.config import parse_arguments
from server.loading import load_model
from server.passages import passages
from server.quantizing import write_int8
from server.trials import Trial, compared

LINES = [
    f"Passage {number} is about freight costs, margins and the committee's {number}th meeting." for number in range(40)
]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server", "bench", "--seconds", "0.1", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    file = tmp_path_factory.mktemp("bench") / "texts.txt"
    file.write_text("\n".join(LINES))
    done = bench("--texts", str(file), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_every_way_is_measured_against_float32(report: dict) -> None:
    results = {result["name"]: result for result in report["results"]}
    expected = [candidate.name for candidate in candidates(torch.device("cpu"), compile=False)]
    assert list(results) == expected
    exact = results["torch float32"]
    assert (exact["cosine"], exact["recall_loss"], exact["good"]) == (pytest.approx(1, abs=1e-5), 0, True)
    for result in results.values():
        assert min(result["texts_per_second"], result["p95_ms"], result["load_seconds"]) > 0
        assert result["tokens_per_second"] > 10 * result["texts_per_second"]
        assert result["cosine"] >= 0.999
        parse_arguments(result["flags"])  # the server takes them
    assert report["texts"]["passages"] == len(LINES)


def test_the_servers_own_way_is_one_of_them(report: dict) -> None:
    """On CPUs it does without padding, which naming an attention would forbid."""
    own = {result["name"]: result["flags"] for result in report["results"] if "--attention" not in result["flags"]}
    assert own["torch float32"] == ["--dtype", "float32"]


def test_what_is_recommended_is_the_fastest_that_is_good(report: dict) -> None:
    fastest = max(result["texts_per_second"] for result in report["results"] if result["good"])
    assert report["recommended"]["good"]
    assert report["recommended"]["texts_per_second"] >= 0.96 * fastest


def test_what_is_not_installed_is_said_with_how_to(report: dict) -> None:
    missing = [name for name in PACKAGES if not _is_installed(name)]
    assert list(report["missing"]) == missing
    assert all(f"sentence-transformers[{name}]" in report["missing"][name] for name in missing)


def test_a_model_that_is_not_there_is_said_way_by_way(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = bench("--model", str(tmp_path / "empty"))
    assert done.returncode == 1
    assert "Recommended" not in done.stdout
    assert "Traceback" not in done.stderr


def test_too_few_texts_are_said(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("one\ntwo\n")
    done = bench("--texts", str(tmp_path / "few.txt"))
    assert done.returncode == 1
    assert "at least 20" in done.stderr


def test_the_texts_are_those_of_the_sample_pdfs() -> None:
    found = passages(None, number=100, queries=10)
    assert (len(found.texts), len(found.queries), found.origin) == (100, 10, "the sample PDFs")
    assert all(any(query in text for text in found.texts) for query in found.queries)
    assert len(set(found.texts)) > 90


@pytest.mark.parametrize("backend", PACKAGES)
def test_eight_bit_weights_are_made_without_a_network_and_served(backend: str, tmp_path: Path) -> None:
    if not _is_installed(backend):
        pytest.skip(f"sentence-transformers[{backend}] is not installed")
    weights = write_int8(parse_arguments(["--backend", backend]), tmp_path / "int8", LINES)
    options = ("--model", f"{MODEL}={tmp_path / 'int8'}", "--backend", backend, "--weights", weights)
    exact = parse_arguments(["--dtype", "float32"])
    model = load_model(exact.models[0], exact, "cpu")
    expected = model.forward(model.tokenizer.encode(LINES[:1]))
    server = start_server(tmp_path, *options)
    try:
        [found] = server.embed(LINES[:1]).json()["data"]
        assert float(np.dot(found["embedding"], expected[0])) > 0.9
        assert server.client.get("/v1/models").json()["data"][0]["backend"] == backend
    finally:
        assert server.stop() == 0


def test_what_libraries_print_meanwhile_is_not_part_of_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def chatting(*_: object) -> Trial:
        print("Statistics collection 100%")
        return trial(1)

    monkeypatch.setattr("server.bench.measured", chatting)
    monkeypatch.setattr("server.bench.PACKAGES", {})
    (tmp_path / "texts.txt").write_text("\n".join(LINES))
    assert main(["--texts", str(tmp_path / "texts.txt"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["recommended"]
    assert "Statistics collection" in said.err


# --- what counts as good ---------------------------------------------------------------------------------------------


def trial(rate: float, noise: float = 0.0) -> Trial:
    chosen = np.random.default_rng(1)
    vectors = chosen.normal(size=(200, 32))
    moved = vectors + noise * np.random.default_rng(2).normal(size=vectors.shape)
    unit = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    return Trial(rate, 100 * rate, 5.0, 1.0, unit[:150], unit[150:])


def result(name: str, rate: float, noise: float = 0.0, *, is_int8: bool = False) -> Result:
    measured = trial(rate, noise)
    return Result(Candidate(name, (), is_int8), measured, *compared(measured, trial(1)))


def test_eight_bits_that_lose_more_than_a_hundredth_are_not_recommended() -> None:
    exact, coarse = result("float32", 10), result("int8", 90, 0.1, is_int8=True)
    assert coarse.recall_loss > MOST_RECALL_LOSS
    assert recommended([exact, coarse]) is exact
    fine = result("int8", 90, 1e-6, is_int8=True)
    assert fine.recall_loss <= MOST_RECALL_LOSS
    assert recommended([exact, fine]) is fine


def test_vectors_that_are_too_far_from_float32_are_not_recommended() -> None:
    exact, far = result("float32", 10), result("bfloat16", 90, 0.1)
    assert far.cosine < 0.999
    assert recommended([exact, far]) is exact


def test_a_gain_within_the_noise_is_no_reason_for_other_flags() -> None:
    exact, same = result("float32", 10), result("bfloat16", 10.1, 1e-6)
    assert recommended([exact, same]) is exact


def test_recall_that_is_lost_is_what_float32_would_have_found() -> None:
    exact = trial(1)
    shuffled = Trial(1, 1, 1, 1, exact.passages[::-1].copy(), exact.queries)
    _, loss = compared(shuffled, exact)
    assert loss > 0.8  # ten of 150 by chance
    assert compared(exact, exact) == (pytest.approx(1, abs=1e-6), 0)
