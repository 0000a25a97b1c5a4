"""What particular models can do: prompts, Matryoshka sizes, pooling without the prompt, several at once, replicas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from server_running import RunningServer, start_server
from tiny_models import PROMPTS, make_embedder

from server.config import parse_arguments
from server.loading import load_model

TEXTS = ["Operating margin fell.", "Freight costs rose by a third in the second quarter.", "a"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "prompted": make_embedder(tmp_path_factory.mktemp("prompted")),
        "matryoshka": make_embedder(
            tmp_path_factory.mktemp("matryoshka"), settings={"matryoshka_dimensions": [16, 32, 64]}
        ),
        "instructed": make_embedder(tmp_path_factory.mktemp("instructed"), pool_prompts=False),
    }


@pytest.fixture(scope="module")
def models(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server with all of them, in float32, two replicas each."""
    named = [option for name, path in folders.items() for option in ("--model", f"{name}={path}")]
    folder = tmp_path_factory.mktemp("models")
    running = start_server(folder, *named, "--dtype", "float32", "--device", "cpu,cpu")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def in_process(folders: dict[str, Path]) -> Any:
    """The same models as sentence-transformers runs them."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return {name: SentenceTransformer(str(path), device="cpu") for name, path in folders.items()}


def ask(server: RunningServer, model: str, **fields: object) -> httpx.Response:
    return server.client.post("/v1/embeddings", json={"input": TEXTS, "model": model, **fields})


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array([item["embedding"] for item in response.json()["data"]], np.float32)


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, ""),
        ({"input_type": "query"}, PROMPTS["query"]),
        ({"input_type": "search_query"}, PROMPTS["query"]),
        ({"input_type": "document"}, PROMPTS["passage"]),
        ({"input_type": "passage"}, PROMPTS["passage"]),
        ({"input_type": "code"}, PROMPTS["code"]),
        ({"prompt_name": "code"}, PROMPTS["code"]),
        ({"prompt": "anything: "}, "anything: "),
        ({"prompt": "wins: ", "prompt_name": "code", "input_type": "query"}, "wins: "),
    ],
)
@pytest.mark.parametrize("name", ["prompted", "instructed"])
def test_prompts_are_those_of_sentence_transformers(
    models: RunningServer, in_process: Any, name: str, fields: dict[str, str], prompt: str
) -> None:
    expected = in_process[name].encode(TEXTS, prompt=prompt or None)
    assert np.abs(vectors(ask(models, name, **fields)) - expected).max() <= 1e-5


def test_a_query_is_what_encode_query_makes_of_it(models: RunningServer, in_process: Any) -> None:
    query = vectors(ask(models, "prompted", input_type="query"))
    assert np.abs(query - in_process["prompted"].encode_query(TEXTS)).max() <= 1e-5


@pytest.mark.parametrize("field", ["input_type", "prompt_name"])
def test_an_unknown_prompt_is_a_400_that_lists_the_known(models: RunningServer, field: str) -> None:
    response = ask(models, "prompted", **{field: "nonsense"})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, field)
    assert all(name in error["message"] for name in PROMPTS)


@pytest.mark.parametrize("field", ["input_type", "prompt_name", "prompt"])
def test_a_prompt_before_token_ids_is_a_400_rather_than_left_out(models: RunningServer, field: str) -> None:
    response = ask(models, "prompted", input=[[101, 7592, 102]], **{field: "query"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    assert ask(models, "prompted", input=[[101, 7592, 102]], prompt_name="document").status_code == 200  # an empty one


def test_usage_counts_the_prompt(models: RunningServer) -> None:
    plain = ask(models, "prompted").json()["usage"]["prompt_tokens"]
    prompted = ask(models, "prompted", prompt="one two ").json()["usage"]["prompt_tokens"]
    assert prompted == plain + 2 * len(TEXTS)


@pytest.mark.parametrize("dimensions", [16, 32, 64])
def test_shorter_vectors_are_cut_and_made_unit_again(models: RunningServer, dimensions: int) -> None:
    whole = vectors(ask(models, "matryoshka"))[:, :dimensions]
    short = vectors(ask(models, "matryoshka", dimensions=dimensions))
    assert np.abs(np.linalg.norm(short, axis=1) - 1).max() <= 1e-5
    assert np.abs(short - whole / np.linalg.norm(whole, axis=1, keepdims=True)).max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "dimensions", "said"),
    [
        ("matryoshka", 17, "16, 32, 64"),
        ("matryoshka", 0, "at most 64"),
        ("matryoshka", 65, "at most 64"),
        ("matryoshka", -1, "at most 64"),
        ("prompted", 32, "not trained for shorter"),
    ],
)
def test_a_size_the_model_has_not_is_a_400_that_says_which_it_has(
    models: RunningServer, name: str, dimensions: int, said: str
) -> None:
    response = ask(models, name, dimensions=dimensions)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "dimensions")
    assert said in response.json()["error"]["message"]


def test_who_runs_the_server_may_allow_any_size(folders: dict[str, Path], tmp_path: Path) -> None:
    server = start_server(tmp_path, "--model", f"prompted={folders['prompted']}", "--any-dimensions")
    try:
        short = vectors(ask(server, "prompted", dimensions=17))
        assert short.shape == (3, 17)
        assert np.abs(np.linalg.norm(short, axis=1) - 1).max() <= 1e-5
        assert ask(server, "prompted", dimensions=65).status_code == 400
    finally:
        assert server.stop() == 0


def test_the_full_size_may_be_asked_of_any_model(models: RunningServer) -> None:
    assert vectors(ask(models, "prompted", dimensions=64)).shape == (3, 64)


def test_models_say_what_they_can(models: RunningServer) -> None:
    cards = {card["id"]: card for card in models.client.get("/v1/models").json()["data"]}
    assert set(cards) == {"prompted", "matryoshka", "instructed"}
    assert cards["matryoshka"]["dimensions"] == [16, 32, 64]
    assert cards["prompted"]["dimensions"] is None
    assert cards["prompted"]["prompts"] == PROMPTS | {"document": ""}
    assert (cards["prompted"]["device"], cards["prompted"]["max_model_len"]) == ("cpu, cpu", 128)


def test_a_text_has_the_same_vector_on_every_replica(models: RunningServer) -> None:
    first, *others = [vectors(ask(models, "prompted")) for _ in range(6)]
    assert all(np.abs(first - other).max() <= 1e-5 for other in others)


def test_a_text_has_the_same_vector_in_any_company(models: RunningServer) -> None:
    """In float32, to the fifth digit: alone, and in batches of other texts of other lengths."""
    alone = np.concatenate([vectors(ask(models, "prompted", input=text)) for text in TEXTS])
    for others in (["short"] * 5, ["word " * 100] * 3, [f"{number} " * number for number in range(1, 60)]):
        mixed = vectors(ask(models, "prompted", input=[*others[:2], *TEXTS, *others[2:]]))[2 : 2 + len(TEXTS)]
        assert np.abs(mixed - alone).max() <= 1e-5


def test_what_is_cut_is_counted(models: RunningServer) -> None:
    def cut() -> str:
        lines = models.client.get("/metrics").text.splitlines()
        return next(line for line in lines if line.startswith("kb_embed_truncated_total "))

    before = float(cut().split()[1])
    ask(models, "prompted", input=["word " * 300, "fine", "word " * 400], truncate=True)
    assert float(cut().split()[1]) == before + 2


def test_a_limit_of_its_own_does_not_overrule_a_no(models: RunningServer) -> None:
    response = ask(models, "prompted", input="one two three", truncate_prompt_tokens=4, truncate=False)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_keeps_the_side_asked_for(models: RunningServer, in_process: Any, side: str) -> None:
    words = [f"{number}" for number in range(100, 200)]
    kept = words[-18:] if side == "left" else words[:18]
    response = ask(models, "prompted", input=" ".join(words), truncate_prompt_tokens=20, truncation_side=side)
    assert np.abs(vectors(response) - in_process["prompted"].encode([" ".join(kept)])).max() <= 1e-5
    assert response.headers["x-truncated-inputs"] == "1"
    assert response.json()["truncated_inputs"] == 1


def test_truncating_to_more_than_the_model_reads_is_a_400(models: RunningServer) -> None:
    response = ask(models, "prompted", truncate_prompt_tokens=1000)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "truncate_prompt_tokens")


def test_a_monster_of_a_text_is_refused_without_tokenising_it(models: RunningServer) -> None:
    response = ask(models, "prompted", input=["fine", "x" * 1_000_000])
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "input 1 has 1000000 characters" in response.json()["error"]["message"]


def test_a_monster_of_a_text_can_be_cut(models: RunningServer) -> None:
    words = "word " * 200_000
    response = ask(models, "prompted", input=["fine", words, "end"], truncate=True)
    assert response.json()["truncated_inputs"] == 1
    assert np.allclose(vectors(response)[1], vectors(ask(models, "prompted", input=["word " * 126]))[0], atol=1e-5)


def test_tokens_go_there_and_back(models: RunningServer) -> None:
    ids = models.client.post("/tokenize", json={"input": TEXTS, "model": "prompted"}).json()["tokens"]
    back = models.client.post("/detokenize", json={"tokens": ids, "model": "prompted"}).json()["texts"]
    assert back == [text.lower() for text in TEXTS]


@pytest.mark.parametrize("tokens", [None, [], "text", [["a"]], [-1], [10**9]])
def test_what_is_no_list_of_token_ids_is_a_400(models: RunningServer, tokens: object) -> None:
    response = models.client.post("/detokenize", json={"tokens": tokens})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tokens")


# --- models that are not quite right ---------------------------------------------------------------------------------


def test_a_text_of_no_token_is_a_400(tmp_path: Path) -> None:
    """Of a tokenizer that adds none of its own."""
    model = make_embedder(tmp_path)
    edit(model / "tokenizer.json", post_processor=None)
    edit(model / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    server = start_server(tmp_path, "--model", f"bare={model}")
    try:
        response = ask(server, "bare", input=["fine", "  "])
        assert (response.status_code, response.json()["error"]["param"]) == (400, "input")
        assert "input 1 is empty" in response.json()["error"]["message"]
        assert ask(server, "bare", input="fine").status_code == 200
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(("said", "expected"), [(4096, 512), (64, 64), (None, 512)])
def test_no_more_is_read_than_a_model_has_positions_for(tmp_path: Path, said: int | None, expected: int) -> None:
    """Beyond them a CPU has an error for each text, and a GPU never works again."""
    model = make_embedder(tmp_path)
    edit(model / "sentence_bert_config.json", max_seq_length=said)
    edit(model / "tokenizer_config.json", model_max_length=10**30, max_length=None)
    config = parse_arguments(["--model", str(model), "--dtype", "float32"])
    loaded = load_model(config.models[0], config, "cpu")
    assert loaded.max_tokens == expected
    assert loaded.forward([[5] * expected]).shape == (1, 64)


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")
