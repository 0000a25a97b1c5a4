"""What is loaded, and in which precision: weights that cannot run code, numbers that change no ranking."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny_models import make_embedder

from server.config import parse_arguments
from server.loading import computes_in, devices, load_model
from server.packing import PackedLinear

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are a pickle."""
    from safetensors.torch import load_file

    model = make_embedder(tmp_path_factory.mktemp("pickled"))
    [weights] = model.rglob("model.safetensors")
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    return model


def load(*options: str) -> object:
    config = parse_arguments(list(options))
    return load_model(config.models[0], config, "cpu")


def test_weights_that_can_run_code_are_refused(pickled: Path) -> None:
    with pytest.raises(OSError, match="safetensors"):
        load("--model", str(pickled))


def test_they_are_loaded_for_who_says_so(pickled: Path) -> None:
    assert load("--model", str(pickled), "--allow-pickle").dimension == 64  # type: ignore[attr-defined]


def test_packed_weights_give_the_vectors_of_the_model_as_it_was() -> None:
    model: Any = load("--dtype", "float32")
    assert any(isinstance(module, PackedLinear) for module in model.transformer.modules())
    texts = ["What drove operating margin in 2022?", "a longer text " * 40]
    plain = SentenceTransformer(parse_arguments([]).models[0].path, device="cpu").encode(texts)
    assert model.forward(model.tokenizer.encode(texts)) == pytest.approx(plain, abs=1e-5)


@pytest.mark.skipif(not computes_in(torch.bfloat16, CPU), reason="this CPU has no bfloat16")
def test_a_lower_precision_is_taken_where_it_changes_nothing() -> None:
    assert load().dtype is torch.bfloat16  # type: ignore[attr-defined]


@pytest.mark.skipif(not computes_in(torch.bfloat16, CPU), reason="this CPU has no bfloat16")
def test_a_lower_precision_that_changes_the_vectors_is_not_taken_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coarse = make_embedder(tmp_path, settings={"initializer_range": 4.0, "num_hidden_layers": 12})
    with caplog.at_level(logging.WARNING):
        model = load("--model", f"coarse={coarse}")
    assert model.dtype is torch.float32  # type: ignore[attr-defined]
    assert "coarse: torch.bfloat16 gives cosine to float32 0." in caplog.text
    assert "so float32 is used" in caplog.text


@pytest.mark.skipif(not computes_in(torch.bfloat16, CPU), reason="this CPU has no bfloat16")
def test_who_names_a_precision_gets_it(tmp_path: Path) -> None:
    coarse = make_embedder(tmp_path, settings={"initializer_range": 4.0, "num_hidden_layers": 12})
    assert load("--model", str(coarse), "--dtype", "bfloat16").dtype is torch.bfloat16  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "expected"), [("cpu", ["cpu"]), ("cpu,cpu", ["cpu", "cpu"]), ("cuda:1", ["cuda:1"]), (None, [None])]
)
def test_a_replica_for_each_device(asked: str | None, expected: list[str | None]) -> None:
    if asked is None and torch.cuda.device_count() > 1:
        expected = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    assert devices(asked) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_cuts_its_vectors_keeps_its_size_in_every_precision(tmp_path: Path, dtype: str) -> None:
    path = make_embedder(tmp_path)
    file = path / "config_sentence_transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "truncate_dim": 32}))
    model: Any = load("--model", str(path), "--dtype", dtype)
    assert (model.default_dimensions, model.dimension) == (32, 64)
