"""Batches without padding: the vectors are those of sentence-transformers, whatever is computed side by side."""

from __future__ import annotations

import logging
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import packaged_model

from server.config import parse_arguments
from server.graph import Graph
from server.loading import load_model
from server.scripting import scripted
from server.unpadded import SHARED_WIDTH, lay_out, rounded

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
VOCABULARY = {"vocab_size": 30_522, "pad_token_id": 0, "initializer_range": 0.3}
# Networks that texts are embedded with, each with what it counts or attends in its own way.
UNPADDED = {
    "bert": ({}, "mean"),
    "roberta": ({"pad_token_id": 1, "max_position_embeddings": 514}, "cls"),  # positions from 2 on
    "xlm-roberta": ({"pad_token_id": 1, "max_position_embeddings": 514}, "mean"),
    "distilbert": ({"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}, "mean"),
    "electra": ({"embedding_size": 64}, "cls"),
    "qwen3": ({"num_key_value_heads": 2, "head_dim": 16}, "lasttoken"),  # causal, heads share keys, rotary positions
}
PADDED = {
    "modernbert": ({"global_attn_every_n_layers": 2}, "mean"),  # sees a window
    "mpnet": ({}, "mean"),  # adds a bias to scores, by an attention of its own
}


def make(folder: Path, kind: str, own: dict[str, Any], pooling: str) -> Path:
    """A small sentence-transformers model with random weights and the packaged model's tokenizer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(7)
        config = AutoConfig.for_model(kind, **{**SIZES, **VOCABULARY, **own})
        AutoModel.from_config(config).save_pretrained(folder / "network")
        AutoTokenizer.from_pretrained(packaged_model()).save_pretrained(folder / "network")
        network = Transformer(str(folder / "network"))
        model = SentenceTransformer(modules=[network, Pooling(64, pooling)], device="cpu")
        model.max_seq_length = 512
        model.save(str(folder / "model"))
    return folder / "model"


def texts_of(lengths: list[int]) -> list[str]:
    chosen = random.Random(len(lengths))
    words = ["margin", "report", "quarter", "freight", "costs", "table", "policy"]
    return [" ".join(chosen.choices(words, k=length)) for length in lengths]


ZEROS = torch.zeros(1, 4096, 384)
LENGTHS = [1, 500, 3, 12, 90, 64, 65, 63, 14, 7, 130, 200, 16, 17, 2]


@pytest.mark.parametrize("kind", [*UNPADDED, *PADDED])
def test_vectors_are_those_of_sentence_transformers(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import SentenceTransformer

    path = make(tmp_path, kind, *{**UNPADDED, **PADDED}[kind])
    config = parse_arguments(["--model", str(path), "--dtype", "float32"])
    with caplog.at_level(logging.INFO):
        model: Any = load_model(config.models[0], config, "cpu")
    assert model.pads == (kind in PADDED)
    assert ("batches are padded" in caplog.text) == (kind in PADDED)
    texts = texts_of(LENGTHS)
    expected = SentenceTransformer(str(path), device="cpu").encode(texts)
    assert model.forward(model.tokenizer.encode(texts)) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("kind", UNPADDED)
def test_a_network_computes_as_a_graph(kind: str, tmp_path: Path) -> None:
    path = make(tmp_path, kind, *UNPADDED[kind])
    config = parse_arguments(["--model", str(path), "--dtype", "float32"])
    model: Any = load_model(config.models[0], config, "cpu")
    assert isinstance(model._stages[0], Graph)


@pytest.mark.parametrize("graph", [lambda features: 1 / 0, lambda features: {**features, "token_embeddings": ZEROS}])
def test_a_graph_that_fails_or_gives_other_vectors_is_not_used(
    graph: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("server.model.record", lambda network, features: graph)
    config = parse_arguments(["--dtype", "float32"])
    with caplog.at_level(logging.INFO):
        model: Any = load_model(config.models[0], config, "cpu")
    assert "computes in Python, for it cannot be recorded" in caplog.text
    assert np.linalg.norm(model.forward([[101, 7592, 102]])) == pytest.approx(1)


def test_a_network_whose_positions_turn_otherwise_in_long_texts_is_not_recorded_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, pooling = UNPADDED["qwen3"]
    rotary = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    path = make(tmp_path, "qwen3", {**own, "rope_parameters": rotary, "max_position_embeddings": 64}, pooling)
    config = parse_arguments(["--model", str(path), "--dtype", "float32"])
    with caplog.at_level(logging.INFO):
        model: Any = load_model(config.models[0], config, "cpu")
    assert not isinstance(model._stages[0], Graph)
    assert "its positions turn otherwise in long texts" in caplog.text


def test_without_torchscript_a_function_computes_as_it_is() -> None:
    def no_script(values: torch.Tensor) -> torch.Tensor:
        return sum((value for value in values), start=torch.zeros(()))  # which TorchScript does not know

    assert scripted(no_script) is no_script
    double = scripted(doubled)
    assert double is not doubled
    assert double(torch.ones(2)).tolist() == [2.0, 2.0]


def doubled(values: torch.Tensor) -> torch.Tensor:
    return 2 * values


def test_who_names_an_attention_gets_it() -> None:
    config = parse_arguments(["--attention", "sdpa", "--dtype", "float32"])
    model: Any = load_model(config.models[0], config, "cpu")
    assert model.pads
    assert model.transformer[0].config._attn_implementation == "sdpa"


@settings(deadline=None)
@given(st.lists(st.integers(1, 3 * SHARED_WIDTH), min_size=1, max_size=40), st.booleans())
def test_each_token_attends_to_those_of_its_own_text(lengths: list[int], causal: bool) -> None:
    lengths.sort(reverse=True)
    layout = lay_out(lengths, torch.float32, causal=causal)
    texts = np.repeat(np.arange(len(lengths)), lengths)
    sees = np.zeros((len(texts), len(texts)), bool)
    first = source = masked = 0
    for tokens, rows, width, height in layout.calls.tolist():
        sources = layout.sources[source : source + rows * width].numpy().reshape(rows, width)
        mask = layout.masks[masked : masked + rows * height * width].view(rows, height, width)
        seen = torch.isfinite(mask).expand(rows, width, width).numpy()
        if causal and height == 1:  # what the kernel itself leaves out
            seen = np.tril(np.ones_like(seen))
        for token in range(first, first + tokens):
            row, column = divmod(int(layout.places[token]), width)
            sees[token, sources[row][seen[row, column]]] = True
            assert sources[row, column] == token
            assert seen[row, column].sum() == sees[token].sum()  # none twice
        first, source, masked = first + tokens, source + rows * width, masked + rows * height * width
    own = texts[:, None] == texts
    assert (sees == (np.tril(own) if causal else own)).all()


@given(st.integers(1, 100_000))
def test_little_is_computed_for_nothing(tokens: int) -> None:
    assert tokens <= rounded(tokens) <= max(tokens + 15, 9 / 8 * tokens)
